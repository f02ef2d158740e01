"""The value that every loader returns, and how samples are held out for validation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seadlif_jax.utils.errors import SeadlifError

SPLITS = ("train", "validation", "test")
FRACTION = "config.data.validation_fraction"
LAST = "last"  # `config.data.validation` without a selection: the network is that of the last epoch


class DataError(SeadlifError):
    """Data that cannot be used: the message names the file or the field, and the remedy."""


class Split(NamedTuple):
    """Samples of one split, in the smallest dtypes that hold them (event counts as uint8).

    Attributes:
      inputs: `[sample, time, channel]`.
      targets: `[sample, num_blocks + 1]` class numbers, -1 for "no target", `targets[:, 0] == -1`; for forecasting
        `[sample, time + 1, channel]`, the inputs shifted by one with a dummy first step; for other tasks, as they say.
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

    With `config.data.validation = "last"`, no epoch is selected: `validation` is for reporting, and for a plateau
    schedule.

    Attributes:
      protocol: how the best epoch is selected, in words for tables, such as "best epoch on 10 % of train"; without
        a selection, it begins with "last epoch".
    """

    train: Split
    validation: Split
    test: Split
    protocol: str


def is_of_last_epoch(protocol: Any) -> bool:
    """Return whether a protocol selects no epoch, and the network is trained on the validation samples too.

    Example:
      >>> is_of_last_epoch("last epoch, trained on all training samples")
      True
    """
    return str(protocol).startswith("last epoch")


def draw_samples(
    num_samples: int, fraction: float, seed: int, field: str = "fraction"
) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted indices `(kept, held out)`, with `round(fraction * num_samples)` samples held out at random.

    Args:
      num_samples: number of samples.
      fraction: of the samples that are held out.
      seed: of the draw.
      field: what an error calls the fraction.

    Raises:
      DataError: the fraction is out of range, or one of the parts would be empty.
    """
    check_fraction(fraction, field)
    order = np.random.default_rng(seed).permutation(num_samples)
    held_out = round(fraction * num_samples)
    if not 0 < held_out < num_samples:
        raise DataError(
            f"{field} = {fraction} holds out {held_out} of {num_samples} training samples; at least one must be held "
            "out, and one kept"
        )
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def draw_validation(data: Any, num_samples: int, noun: str = "recordings") -> tuple[Any, np.ndarray, str]:
    """Return indices of the samples to train on, and of those for validation, and the protocol in words.

    With "held_out", the validation split is a random part, `data.validation_fraction`, that is not trained on. With
    "last", all samples are trained on, and the same part is for reporting, and for a plateau schedule.

    Args:
      data: the section `data` of a config.
      num_samples: number of training samples.
      noun: what a sample is.

    Raises:
      DataError: the protocol is another one, or the fraction is out of range.
    """
    check_protocol(data.validation, ("held_out", LAST))
    check_fraction(data.validation_fraction)
    others, part = draw_samples(num_samples, data.validation_fraction, data.seed, FRACTION)
    of_train = f"{100 * data.validation_fraction:g} % of the training {noun}"
    if data.validation == LAST:
        return slice(None), part, f"last epoch, trained on all training {noun}; validation is on {of_train}"
    return others, part, f"best epoch on {of_train}, held out at random"


def divide_generated(samples: Split, validation: str, train: float, test: float, noun: str = "samples") -> Dataset:
    """Divide generated samples, in their order, into training, validation and test splits.

    Args:
      samples: all samples.
      validation: the protocol; with "last", the samples for validation are trained on, too.
      train: fraction of the samples to train on.
      test: fraction of the samples for the test; the rest is for validation.
      noun: what a sample is.
    """
    count = len(samples.inputs)
    first, second = round(count * train), round(count * (1 - test))
    part = f"{100 * (1 - train - test):g} % of the {noun}"
    protocol = f"best epoch on {part}, generated for this"
    if validation == LAST:
        protocol = f"last epoch, trained on all {noun} but those of the test; validation is on {part}"
    return Dataset(
        train=samples.take(slice(None, second if validation == LAST else first)),
        validation=samples.take(slice(first, second)),
        test=samples.take(slice(second, None)),
        protocol=protocol,
    )


def check_protocol(validation: str, protocols: Sequence[str]) -> None:
    """Raise a `DataError` if `config.data.validation` is none of these."""
    if validation not in protocols:
        raise DataError(f"config.data.validation = {validation!r}: it must be one of {', '.join(protocols)}")


def check_fraction(fraction: Any, field: str = FRACTION) -> None:
    """Raise a `DataError` if a field is not a fraction of the training samples."""
    if not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise DataError(f"{field} = {fraction!r}: it must be above 0 and below 1")


def draw_groups(
    groups: np.ndarray, count: int, seed: int, field: str = "count", noun: str = "groups"
) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted indices `(kept, held out)`, with all samples of `count` random groups (speakers) held out.

    Args:
      groups: the group of each sample, `[sample]`.
      count: number of groups to hold out.
      seed: of the draw.
      field: what an error calls the count.
      noun: what the groups are.

    Raises:
      DataError: one of the parts would be empty.
    """
    names = np.unique(groups)
    if not 0 < count < len(names):
        raise DataError(
            f"{field} = {count}: there are {len(names)} {noun}; at least one must be held out, and one kept"
        )
    held_out = np.isin(groups, np.random.default_rng(seed).choice(names, count, replace=False))
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
