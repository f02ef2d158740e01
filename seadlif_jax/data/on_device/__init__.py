"""Samples on the devices: whole splits, batches, and their lengths."""
