"""The value that every loader returns, and how samples are held out for validation."""

from typing import Any, NamedTuple

import numpy as np

from seadlif_jax.utils.errors import SeadlifError

SPLITS = ("train", "validation", "test")


class DataError(SeadlifError):
    """Data that cannot be used: the message names the file or the field, and the remedy."""


class Split(NamedTuple):
    """Samples of one split, in the smallest dtypes that hold them (event counts as uint8).

    Attributes:
      inputs: `[sample, time, channel]`.
      targets: `[sample, num_blocks + 1]` class numbers, -1 for "no target", `targets[:, 0] == -1`; for forecasting
        `[sample, time + 1, channel]`, the inputs shifted by one with a dummy first step.
      block_index: `[sample, time]`, the block that each step belongs to; the steps of block 0 are ignored.
    """

    inputs: np.ndarray
    targets: np.ndarray
    block_index: np.ndarray

    def take(self, indices: Any) -> "Split":
        """Return the samples at `indices`, a slice or an array of integers."""
        return Split(*(array[indices] for array in self))


class Dataset(NamedTuple):
    """The data of a run: it trains on `train`, selects its best epoch on `validation`, and is tested once on `test`.

    Attributes:
      protocol: how the best epoch is selected, in words for tables, such as "best epoch on 10 % of train".
    """

    train: Split
    validation: Split
    test: Split
    protocol: str


def draw_samples(num_samples: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted indices `(kept, held out)`, with `round(fraction * num_samples)` samples held out at random.

    Raises:
      DataError: the fraction is out of range, or one of the parts would be empty.
    """
    if not 0 < fraction < 1:
        raise DataError(f"config.data.validation_fraction = {fraction}: it must be above 0 and below 1")
    order = np.random.default_rng(seed).permutation(num_samples)
    held_out = round(fraction * num_samples)
    if not 0 < held_out < num_samples:
        raise DataError(
            f"config.data.validation_fraction = {fraction} holds out {held_out} of {num_samples} training samples; "
            "at least one must be held out, and one kept"
        )
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def draw_groups(groups: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted indices `(kept, held out)`, with all samples of `count` random groups (speakers) held out.

    Args:
      groups: the group of each sample, `[sample]`.
      count: number of groups to hold out.
      seed: of the draw.

    Raises:
      DataError: one of the parts would be empty.
    """
    names = np.unique(groups)
    if not 0 < count < len(names):
        raise DataError(
            f"config.data.validation_speakers = {count}: there are {len(names)} speakers in the training file; at "
            "least one must be held out, and one kept"
        )
    held_out = np.isin(groups, np.random.default_rng(seed).choice(names, count, replace=False))
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
