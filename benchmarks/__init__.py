"""Comparisons in time and memory, with their results."""
