"""Data that are in memory: a data set given to `fit` as arrays, and recordings of several lengths as one split."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from seadlif_jax.data.dataset import DataError, Split

LOADER = "seadlif_jax.data.in_memory:load"
"""`config.data.loader` of a run whose data were given to `fit`."""


def load(config: Any) -> NoReturn:
    """Raise a `DataError`: the arrays of the run are not stored."""
    raise DataError(
        f"config.data.loader = {config.data.loader!r}: the data of this run were given to fit, and are not stored; "
        "give them again, as fit(config, workdir, dataset) or evaluate(load_run(workdir), split)"
    )


def pad_recordings(recordings: Sequence[Any], labels: Sequence[int] | np.ndarray) -> Split:
    """Return recordings of several lengths, each with one label, as a split: one block per recording.

    Args:
      recordings: arrays `[time, channel]`, of any numbers; shorter ones are padded with zeros, in block 0.
      labels: class of each recording, from 0.

    Raises:
      DataError: there are no recordings, not as many labels, labels that are not whole numbers, or recordings of other
        shapes.

    Example:
      >>> split = pad_recordings([np.ones((3, 2)), np.ones((5, 2))], labels=[0, 1])
      >>> split.inputs.shape, split.block_index.tolist()
      ((2, 5, 2), [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    """
    arrays, classes = [np.asarray(recording) for recording in recordings], np.asarray(labels)
    if not arrays or classes.shape != (len(arrays),):
        raise DataError(f"{len(arrays)} recordings and labels of shape {classes.shape}: give one label per recording")
    if not np.issubdtype(classes.dtype, np.integer):
        raise DataError(
            f"labels are of type {classes.dtype}; they must be whole numbers, the classes 0, 1, 2 and so on"
        )
    classes = classes.astype(np.int64)  # which has room for -1
    for number, array in enumerate(arrays):
        if array.ndim != 2 or not len(array) or array.shape[1] != arrays[0].shape[-1]:
            raise DataError(
                f"recording {number} has shape {array.shape}; all must be [time, channel], with at least one step, and "
                "the channels of the first"
            )
    longest = max(map(len, arrays))
    inputs = np.zeros((len(arrays), longest, arrays[0].shape[1]), np.result_type(*arrays))
    block_index = np.zeros((len(arrays), longest), np.uint8)
    for number, array in enumerate(arrays):
        inputs[number, : len(array)], block_index[number, : len(array)] = array, 1
    return Split(inputs, np.stack([np.full_like(classes, -1), classes], axis=1), block_index)
