"""What is done with runs and lessons: compare them, measure one folder or all, register a dataset.

Of the rooms this is the top one: it may use all others.
"""
