"""A run: training, metrics, checkpoint, progress, samples, pictures, and how far two runs agree.

It uses data, contract.py and system.
"""
