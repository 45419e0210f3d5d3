"""The command line of main.py: flags and settings, the commands train and sample, and what goes wrong.

It uses run, data, contract.py and system.
"""
