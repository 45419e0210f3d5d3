"""The parts of the recorder. What the rest of the course uses of them is in record.py."""
