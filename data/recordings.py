"""The .h5 files of the Heidelberg data sets (Cramer et al. 2020): what they say of their recordings, and the frames.

A file has for each recording the times in seconds and the units of its events in `spikes/times` and `spikes/units`, its
class in `labels`, and the number of its speaker in `extra/speaker`.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from tqdm import tqdm

from data.cache import cached
from data.dataset import DataError
from data.events import Binning, EventError, bin_events, count_bins
from data.probe import probe

TIMES, UNITS, LABELS, SPEAKERS = "spikes/times", "spikes/units", "labels", "extra/speaker"
NUM_UNITS = 700
READ = 256  # recordings read at a time: many enough that the file's own bookkeeping does not matter
CHUNK = 16  # recordings binned in one pass: few enough that their counts stay in the processor's cache
CACHE_VERSION = 2  # another one makes all caches anew
COUNTS, NUM_STEPS = "counts.npy", "num_steps.npy"


class _NotThroughError(Exception):
    """Reading has raised an exception: nothing to be remembered."""


class Recordings(NamedTuple):
    """What a file says of its recordings: `labels [recording]`, and `speakers [recording]` where they are known."""

    path: Path
    labels: np.ndarray
    speakers: np.ndarray | None


class Frames(NamedTuple):
    """Event counts uint8 `[recording, time, channel]`, and how many of these steps are a recording's own."""

    counts: np.ndarray
    num_steps: np.ndarray


def read(path: Path) -> Recordings:
    """Reads all but the events.

    Raises:
      DataError: the file is damaged, or has another format.
    """
    with _open(path) as file:
        labels = file[LABELS][:]
        speakers = file[SPEAKERS][:] if SPEAKERS in file else None
        sizes = {name: len(file[name]) for name in (TIMES, UNITS, LABELS, SPEAKERS) if name in file}
        if len(set(sizes.values())) > 1 or 0 in sizes.values():
            raise ValueError("lengths " + ", ".join(f"{name} {size}" for name, size in sizes.items()))
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(f"{LABELS} are {labels.dtype} {labels.shape}, not one class number a recording")
        for name, kinds in ((TIMES, "f"), (UNITS, "iu")):
            content = h5py.check_vlen_dtype(file[name].dtype)
            if content is None or content.kind not in kinds:
                raise ValueError(f"{name} holds {content or file[name].dtype}, not arrays of numbers")
    return Recordings(path, labels, speakers)


def check(path: Path, cache: Path) -> None:
    """Reads a whole file, in a process of its own, unless the cache says that it has been done.

    A file that merely raises an exception is left to `read` and `frames`, which tell it.

    Raises:
      DataError: that crashed the process, or did not come to an end; or the cache cannot be written.
    """

    def read_through(folder: Path) -> None:
        if not probe(path, "data.recordings:read_all"):
            raise _NotThroughError

    if cache.is_dir() and not os.access(cache, os.W_OK):  # others have filled it
        probe(path, "data.recordings:read_all")
        return
    with contextlib.suppress(_NotThroughError):
        cached(cache, f"{path.stem}-checked", _identity(path), read_through)


def read_all(path: Path) -> Iterator[None]:
    """Reads all that there is, a little at a time."""
    read(path)
    for _ in _chunks(path, TIMES, UNITS):
        yield


def frames(path: Path, binning: Binning, pad_to: int, cache: Path) -> Frames:
    """Bins a file's events, and pads every recording with empty steps to at least `pad_to`, which are then its own.

    The counts are memory-mapped from the cache; if they are not there yet, they are made, in bounded memory.

    Raises:
      DataError: the file is damaged, has events that cannot be binned, or the cache cannot be written.
    """
    key = {"version": CACHE_VERSION, **_identity(path), "pad_to": pad_to, **binning._asdict()}
    entry = cached(cache, path.stem, key, lambda folder: _bin_file(path, binning, pad_to, folder))
    try:
        return Frames(np.load(entry / COUNTS, mmap_mode="r"), np.load(entry / NUM_STEPS))
    except ValueError as error:  # objects, for example, which are not loaded
        raise DataError(f"the cache {entry} is not what this program writes; delete it ({error})") from error


def _identity(path: Path) -> dict[str, Any]:
    """What changes whenever the file does."""
    status = path.stat()
    return {"file": str(path.resolve()), "size": status.st_size, "modified": status.st_mtime_ns}


def _bin_file(path: Path, binning: Binning, pad_to: int, folder: Path) -> None:
    # A first pass for the number of steps: reading is the lesser part of the work.
    num_bins = [_apply(path, start, count_bins, times, binning) for start, times in _chunks(path, TIMES)]
    num_steps = np.maximum(np.concatenate(num_bins), pad_to)
    shape = (len(num_steps), int(num_steps.max()), binning.num_channels)
    # Written as a stream: a memory map would end the process when the disk is full.
    with (folder / COUNTS).open("wb") as file, _progress(path, len(num_steps)) as bar:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start, times, units in _chunks(path, TIMES, UNITS):
            file.write(_apply(path, start, bin_events, times, units, binning, shape[1]).data)
            bar.update(len(times))
    np.save(folder / NUM_STEPS, num_steps)


def _apply(path: Path, start: int, function: Callable[..., np.ndarray], *args: Any) -> np.ndarray:
    """Calls a function of `events` for the recordings from `start` on; its errors name the file's recording."""
    try:
        return function(*args)
    except EventError as error:
        raise DataError(
            f"{path}: recording {start + error.recording}: {error.reason}. The file is damaged, or "
            "config.data.step_ms or config.data.num_channels does not suit it"
        ) from error


def _progress(path: Path, num_recordings: int) -> tqdm:
    return tqdm(total=num_recordings, desc=f"binning {path.name}", unit="recording", disable=None, leave=False)


def _chunks(path: Path, *names: str) -> Iterator[tuple]:
    """Reads arrays of a file, a few recordings at a time: the index of the first one, and the arrays."""
    with _open(path) as file:
        datasets = [file[name] for name in names]
        for first in range(0, len(datasets[0]), READ):
            arrays = [dataset[first : first + READ] for dataset in datasets]
            for start in range(0, len(arrays[0]), CHUNK):
                yield first + start, *(array[start : start + CHUNK] for array in arrays)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path) as file:
            yield file
    except (PermissionError, BlockingIOError, MemoryError) as error:
        raise DataError(f"{path} cannot be read now ({_reason(error)})") from error
    except Exception as error:  # h5py raises whatever it runs into
        raise DataError(
            f"{path} is damaged, or not a file of event recordings ({_reason(error)}). Move it away to have it "
            "downloaded again, or set --config.data.dir to another folder"
        ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
