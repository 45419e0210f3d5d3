"""What single chapters compute for themselves: a module for each, named after its section or folder."""
