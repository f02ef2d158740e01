"""Samples in batches of one shape, so that a function of a batch is compiled once.

Every pass over samples outside of training goes through `masked_batches`: the last batch is filled up with samples of
zeros, all of whose steps are in block 0 and which have no target.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Num

from seadlif_jax.data.dataset import Split
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.losses import IGNORED


class MaskedBatch(NamedTuple):
    """A batch, and which of its samples are not padding."""

    samples: Samples
    is_sample: Bool[np.ndarray, " batch"]


def masked_batches(split: Split, batch_size: int) -> Iterator[MaskedBatch]:
    """Yield all samples of a split in order, in batches of equal shape on the device."""
    for start in range(0, len(split.inputs), batch_size):
        inputs, targets, block_index = split.take(slice(start, start + batch_size))
        missing = batch_size - len(inputs)
        if np.issubdtype(targets.dtype, np.integer):
            targets = _pad(targets.astype(np.int32), missing, IGNORED)
        else:
            targets = _pad(targets, missing)
        arrays = _pad(inputs, missing), targets, _pad(block_index.astype(np.int32), missing)
        samples = Samples(*map(jnp.asarray, arrays))
        yield MaskedBatch(samples, np.arange(batch_size) < batch_size - missing)


def count_batches(num_samples: int, batch_size: int) -> int:
    """Return the number of batches of `masked_batches`."""
    return -(-num_samples // batch_size)


def unlabelled(inputs: Num[np.ndarray, "sample time channel"], block_index: np.ndarray | None = None) -> Split:
    """Return samples without targets as a split; by default, all their steps are in block 1."""
    samples, steps, _ = inputs.shape
    if block_index is None:
        block_index = np.ones((samples, steps), np.int32)
    return Split(inputs, np.full((samples, 2), IGNORED, np.int32), block_index)


def _pad(array: np.ndarray, missing: int, value: int = 0) -> np.ndarray:
    """Append entries along the first axis."""
    padding = [(0, missing), *[(0, 0)] * (array.ndim - 1)]
    return np.pad(array, padding, constant_values=value) if missing else array
