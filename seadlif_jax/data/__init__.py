"""What loaders need, and users with data of their own: `Dataset`, its checks, event binning, files, cache."""

from seadlif_jax.data.dataset import DataError, Dataset, Split

__all__ = ["DataError", "Dataset", "Split"]
