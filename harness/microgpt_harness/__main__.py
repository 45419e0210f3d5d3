"""`python -m microgpt_harness`: the same as the console script `microgpt`."""

from .start import tool

if __name__ == "__main__":
    tool()
