"""The value every loader returns."""

from typing import Any, NamedTuple

import numpy as np


class DataError(ValueError):
    """Data that cannot be used: the message names the file and the remedy."""


class Split(NamedTuple):
    """Samples of one split, in the smallest dtypes that hold them (event counts as uint8).

    Attributes:
      inputs: `[sample, time, channel]`.
      targets: `[sample, num_blocks + 1]` class numbers, -1 for "no target", `targets[:, 0] == -1`; for forecasting
        `[sample, time + 1, channel]`, the inputs shifted by one with a dummy first step.
      block_index: `[sample, time]`, the block each step belongs to; the steps of block 0 are ignored.
    """

    inputs: np.ndarray
    targets: np.ndarray
    block_index: np.ndarray

    def take(self, indices: Any) -> "Split":
        """The samples at `indices` (a slice or an integer array)."""
        return Split(*(array[indices] for array in self))


class Dataset(NamedTuple):
    """What a run trains on, selects its best epoch on, and is tested on once.

    Attributes:
      protocol: how the best epoch is selected, in words for tables, such as "best epoch on 10 % of train".
    """

    train: Split
    validation: Split
    test: Split
    protocol: str


def draw_samples(num_samples: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of samples `(kept, held out)`, the latter `round(fraction * num_samples)` drawn at random.

    Raises:
      DataError: the fraction is out of range, or one of the parts would be empty.
    """
    if not 0 < fraction < 1:
        raise DataError(f"config.data.validation_fraction = {fraction}: it must be above 0 and below 1")
    order = np.random.default_rng(seed).permutation(num_samples)
    held_out = round(fraction * num_samples)
    if not 0 < held_out < num_samples:
        raise DataError(
            f"config.data.validation_fraction = {fraction} holds {held_out} of {num_samples} training samples out; "
            "at least one must be held out, and one kept"
        )
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def draw_groups(groups: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of samples `(kept, held out)`, the latter all those of `count` groups (speakers) drawn at random.

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
