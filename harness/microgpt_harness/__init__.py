"""What all six lessons share and none should repeat. The core imports only the standard library."""
