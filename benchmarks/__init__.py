"""Measurements of time and memory, with their results."""
