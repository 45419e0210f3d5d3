"""The course: a static site built from the lessons and from recorded runs of them."""
