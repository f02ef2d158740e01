"""Errors about the folder of a run."""


class RunError(ValueError):
    """Folder that cannot be used for a run; the message says why, and the remedy."""


class CheckpointError(ValueError):
    """Checkpoint that cannot be restored or saved; the message names it and the remedy."""
