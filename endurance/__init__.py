"""Stress tests of `train.py` from the command line, with their results."""
