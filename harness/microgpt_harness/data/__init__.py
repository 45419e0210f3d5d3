"""What is trained on: the registry, where a dataset's file comes from, its documents, batches of tokens.

It uses system.
"""
