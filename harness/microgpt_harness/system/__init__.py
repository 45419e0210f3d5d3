"""The ground floor, for all rooms: signals, files, the terminal, paths, and the two errors that a command may end with.

It uses nothing of the harness.
"""
