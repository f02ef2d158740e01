"""Data sets: one loader a task, a function from the config to a `Dataset`. Nothing here knows the model."""
