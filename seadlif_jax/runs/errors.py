"""Errors about the folder of a run."""

from seadlif_jax.utils.errors import SeadlifError


class RunError(SeadlifError):
    """Folder that cannot be used for a run; the message says why, and the remedy."""


class CheckpointError(SeadlifError):
    """Checkpoint that cannot be restored or saved; the message names it and the remedy."""
