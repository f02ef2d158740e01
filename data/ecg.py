"""ECG: label every step of a two-lead heart recording with one of six wave classes.

The recordings are those of the PhysioNet QT Database in the level-crossing code of Yin, Corradi & Bohte (2021): 1301
steps of four channels (up and down crossings of two leads) with values -1, 0, 1.

About 8 % of the training steps and 10 % of the test steps carry no label in the files. As in all published results on
them (an argmax over six zeros), these steps count as class 0. `parts` distinguishes them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from seadlif_jax.data.dataset import LAST, DataError, Dataset, Split, check_protocol, draw_validation
from seadlif_jax.data.probe import probe_file
from seadlif_jax.utils.errors import storage_error, with_type

FOLDER = "QTDB"
NUM_CHANNELS = 4
NUM_CLASSES = 6
FIELDS = ("validation_fraction",)  # fields of `config.data` beyond those that all tasks share
REMEDY = (
    "QTDB_train.mat and QTDB_test.mat come from the folder data/ of the repository byin-cwi/Efficient-spiking-networks "
    "on GitHub; put both into a folder QTDB and set --config.data.dir to the folder that holds it"
)

OTHER_DATA = "For other recordings, write a loader: see docs/own-data.md"


def load(config: Any) -> Dataset:
    """Return `QTDB_train.mat` and `QTDB_test.mat`, with `config.data.validation_fraction` of train for validation.

    `config.data.validation` is "held_out" or "last" (see `draw_validation`). `config.data.dir` is the folder that holds
    `QTDB/QTDB_train.mat`, or that file itself.

    Raises:
      DataError: a file is missing, damaged or not what it should be; or a field of `config.data` is out of range.
    """
    data = config.data
    check_protocol(data.validation, ("held_out", LAST))
    if data.num_classes != NUM_CLASSES:
        raise DataError(f"config.data.num_classes = {data.num_classes}: it must be {NUM_CLASSES}")

    train_file, test_file = find_files(data.dir)
    train = read(train_file)
    kept, validation, protocol = draw_validation(data, len(train.inputs))
    return Dataset(train.take(kept), train.take(validation), read(test_file), protocol)


def parts(config: Any, split: str) -> dict[str, np.ndarray]:
    """Return boolean masks over the `targets` of a split, `[recording, 1 + time]`.

    "labelled" are the steps with a label, "tail" the steps without one up to the end of a recording, and "gap" all
    other steps without one. In the tails of the published files, nearly all inputs are 0.
    """
    train_file, test_file = find_files(config.data.dir)
    missing = unlabelled(test_file if split == "test" else train_file)
    if split != "test":
        kept, validation, _ = draw_validation(config.data, len(missing))
        missing = missing[kept if split == "train" else validation]
    until_end = np.logical_and.accumulate(missing[:, ::-1], axis=1)[:, ::-1]
    by_name = {"labelled": ~missing, "gap": missing & ~until_end, "tail": until_end}
    no_target = np.zeros((len(missing), 1), bool)
    return {name: np.concatenate([no_target, mask], axis=1) for name, mask in by_name.items()}


def find_files(folder: str) -> tuple[Path, Path]:
    """Return the training and test file below `folder`, or beside it if it is the training file itself."""
    given = Path(folder).expanduser()
    train = given if given.suffix == ".mat" else given / FOLDER / "QTDB_train.mat"
    test = train.with_name("QTDB_test.mat")
    for path in (train, test):
        if not path.is_file():
            raise DataError(f"ECG data not found: there is no {path}. {REMEDY}")
    return train, test


def read(path: Path, config: Any = None) -> Split:
    """Return the recordings of one file: spikes as int8, one target a step. The config is not used."""
    x, y = _arrays(path)
    recordings, steps = x.shape[:2]
    no_target = np.full((recordings, 1), -1, np.int8)
    # Every step is a block.
    block_index = np.arange(1, steps + 1, dtype=np.min_scalar_type(steps))
    return Split(
        inputs=x.astype(np.int8),
        targets=np.concatenate([no_target, y.argmax(axis=2).astype(np.int8)], axis=1),
        block_index=np.broadcast_to(block_index, (recordings, steps)),
    )


def unlabelled(path: Path) -> np.ndarray:
    """Return the steps of the recordings of one file that have no label, `[recording, time]`."""
    return np.logical_not(_arrays(path)[1].any(axis=2))


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of a file that is as it should be."""
    if not path.is_file():
        raise DataError(f"there is no file {path}. {REMEDY}")
    probe_file(path, parse)
    try:
        ((x, y),) = parse(path)
    except Exception as error:  # scipy raises many types
        if reason := storage_error(error):
            raise DataError(f"{path} cannot be read at the moment ({reason}); try again") from error
        raise DataError(f"{path} is damaged or not the ECG file ({with_type(error)}). {REMEDY}") from error

    def refuse(problem: str) -> DataError:
        return DataError(f"{path}: {problem}. {REMEDY}")

    if x.ndim == y.ndim == 3 and x.shape[:2] == y.shape[:2] and (x.shape[2], y.shape[2]) != (NUM_CHANNELS, NUM_CLASSES):
        raise DataError(
            f"{path}: it has {x.shape[2]} channels and {y.shape[2]} classes; data.ecg reads the files of the QT "
            f"database, with {NUM_CHANNELS} and {NUM_CLASSES}. {OTHER_DATA}"
        )
    if x.ndim != 3 or x.shape[2] != NUM_CHANNELS or y.shape != (*x.shape[:2], NUM_CLASSES) or x.size == 0:
        raise refuse(
            f"x is {x.shape} and y is {y.shape}; expected x [recording, time, {NUM_CHANNELS}] "
            f"and y [recording, time, {NUM_CLASSES}]"
        )
    if not np.isin(x, (-1, 0, 1)).all():
        raise DataError(f"{path}: x holds values other than -1, 0 and 1. {OTHER_DATA}")
    if not np.isin(y, (0, 1)).all() or (y.sum(axis=2, dtype=np.int64) > 1).any():
        raise refuse("y has steps with more than one class")
    return x, y


def parse(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the arrays x and y of a file, once."""
    if not h5py.is_hdf5(path):
        arrays = scipy.io.loadmat(path, variable_names=["x", "y"])
        yield arrays["x"], arrays["y"]
        return
    with h5py.File(path) as file:  # saved by MATLAB with -v7.3, which stores the last axis first
        yield file["x"][:].T, file["y"][:].T
