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
      protocol: how the best epoch is selected, in words for tables, such as "5 % of train held out".
    """

    train: Split
    validation: Split
    test: Split
    protocol: str


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Splits at random into `(kept, held out)`, the held-out part of `round(fraction * samples)`.

    Raises:
      DataError: one of the parts would be empty.
    """
    order = np.random.default_rng(seed).permutation(len(split.inputs))
    held_out = round(fraction * len(order))
    if not 0 < held_out < len(order):
        raise DataError(
            f"config.data.validation_fraction = {fraction} holds {held_out} of {len(order)} training samples out; "
            "at least one must be held out, and one kept"
        )
    return split.take(np.sort(order[held_out:])), split.take(np.sort(order[:held_out]))
