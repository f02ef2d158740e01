"""What loaders need, and users with data of their own: `Dataset`, its checks, event binning, files, cache."""

from seadlif_jax.data.dataset import DataError, Dataset, Split, draw_groups, draw_samples, draw_validation
from seadlif_jax.data.in_memory import pad_recordings

__all__ = ["DataError", "Dataset", "Split", "draw_groups", "draw_samples", "draw_validation", "pad_recordings"]
