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

from seadlif_jax.data.cache import cached
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.events import Binning, EventError, bin_events, count_bins
from seadlif_jax.data.probe import probe
from seadlif_jax.utils.storage import storage_error

TIMES, UNITS, LABELS, SPEAKERS = "spikes/times", "spikes/units", "labels", "extra/speaker"
NUM_UNITS = 700  # of the Heidelberg data sets
MAX_SECONDS = 10.0  # of a recording; theirs last up to 1.4
MAX_NAMES = 8  # of data sets, in an error
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
        _check_layout(path, file)
        labels = file[LABELS][:]
        speakers = file[SPEAKERS][:] if SPEAKERS in file else None
    return Recordings(path, labels, speakers)


def _check_layout(path: Path, file: h5py.File) -> None:
    def refuse(reason: str) -> DataError:
        return DataError(
            f"{path} does not have the layout of the Heidelberg data sets: {reason}. Recordings in another layout need "
            "a loader: see docs/own-data.md"
        )

    datasets = {name: file.get(name) for name in (TIMES, UNITS, LABELS, SPEAKERS)}
    for name, dataset in datasets.items():
        if not isinstance(dataset, h5py.Dataset) and name != SPEAKERS:
            raise refuse(f"it has no data set {name} (but {', '.join(_names(file)[:MAX_NAMES]) or 'none at all'})")
    present = {name: dataset for name, dataset in datasets.items() if isinstance(dataset, h5py.Dataset)}
    for name, dataset in present.items():
        settings = dataset.id.get_create_plist()
        for number in range(settings.get_nfilters()):
            code, _, _, filter_name = settings.get_filter(number)
            if not h5py.h5z.filter_avail(code):
                raise DataError(
                    f"{path}: {name} is compressed with the HDF5 filter {code} ({filter_name.decode()}), which is not "
                    "installed here. Install it (most are in the package hdf5plugin) and set HDF5_PLUGIN_PATH to its "
                    "folder (hdf5plugin.PLUGIN_PATH), or write the file anew with gzip or without compression"
                )
    sizes = {name: dataset.shape[:1] for name, dataset in present.items()}
    if len(set(sizes.values())) > 1 or sizes[LABELS] in ((), (0,)):
        raise refuse("lengths " + ", ".join(f"{name} {size[0] if size else '-'}" for name, size in sizes.items()))
    labels = present[LABELS]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise refuse(f"{LABELS} are {labels.dtype} {labels.shape}, not one class number a recording")
    for name, kind, meaning in ((TIMES, "f", "seconds as floats"), (UNITS, "iu", "whole numbers")):
        content = h5py.check_vlen_dtype(present[name].dtype)
        if content is None:
            shape = present[name].shape
            raise refuse(f"{name} holds {present[name].dtype} {shape}, not an array of its own for each recording")
        if name == TIMES and content.kind in "iu":
            raise refuse(
                f"{name} holds {content}, whole numbers whose unit the file does not say; they must be seconds as "
                "floats: of microseconds, write times * 1e-6"
            )
        if content.kind not in kind:
            raise refuse(f"{name} holds {content}; it must be {meaning}")


def _names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def check(path: Path, cache: Path) -> None:
    """Reads a whole file, in a process of its own, unless the cache says that it has been done.

    A file that merely raises an exception is left to `read` and `frames`, which tell it.

    Raises:
      DataError: that crashed the process, or did not come to an end; or the cache cannot be written.
    """

    def read_through(folder: Path) -> None:
        if not probe(path, read_all):
            raise _NotThroughError

    if cache.is_dir() and not os.access(cache, os.W_OK):  # others have filled it
        probe(path, read_all)
        return
    with contextlib.suppress(_NotThroughError):
        cached(cache, f"{path.stem}-checked", _identity(path), read_through)


def read_all(path: Path) -> Iterator[None]:
    """Reads all that there is, a little at a time."""
    read(path)
    for _ in _chunks(path, TIMES, UNITS):
        yield


def frames(
    path: Path,
    binning: Binning,
    pad_to: int,
    cache: Path,
    max_seconds: float = MAX_SECONDS,
    skip_empty: bool = False,
) -> Frames:
    """Bins a file's events, and pads every recording with empty steps to at least `pad_to`, which are then its own.

    The counts are memory-mapped from the cache; if they are not there yet, they are made, in bounded memory. With
    `skip_empty`, a recording without events has no steps; otherwise it is refused.

    Raises:
      DataError: the file is damaged, has a recording of more than `max_seconds` or events that cannot be binned, or the
        cache cannot be written.
    """
    key = {"version": CACHE_VERSION, **_identity(path), "pad_to": pad_to, "skip_empty": skip_empty, **binning._asdict()}

    def make(folder: Path) -> None:
        num_bins = _count_bins(path, binning, max_seconds, skip_empty)
        _bin_file(path, binning, np.where(num_bins > 0, np.maximum(num_bins, pad_to), 0), folder)

    entry = cached(cache, path.stem, key, make)
    try:
        return Frames(np.load(entry / COUNTS, mmap_mode="r"), np.load(entry / NUM_STEPS))
    except ValueError as error:  # objects, for example, which are not loaded
        raise DataError(f"the cache {entry} is not what this program writes; delete it ({error})") from error


def _identity(path: Path) -> dict[str, Any]:
    """What changes whenever the file does. Programs that copy can set the time of modification, but not of change."""
    status = path.stat()
    return {
        "file": str(path.resolve()),
        "size": status.st_size,
        "modified": status.st_mtime_ns,
        "changed": status.st_ctime_ns,
    }


def _count_bins(path: Path, binning: Binning, max_seconds: float, skip_empty: bool) -> np.ndarray:
    """The number of bins of every recording, in a pass of its own: reading is the lesser part of the work."""
    num_bins: list[int] = []
    for start, times in _chunks(path, TIMES):
        filled = np.array([len(of_recording) > 0 or not skip_empty for of_recording in times])
        of_chunk = np.zeros(len(times), np.int64)
        if filled.any():
            of_chunk[filled] = _apply(path, start + np.flatnonzero(filled), count_bins, times[filled], binning)
        seconds = of_chunk * binning.bin_ms / 1000
        longest = np.max(seconds)
        if longest > max_seconds:
            raise DataError(
                f"{path}: recording {start + np.argmax(seconds)} lasts {longest:,.0f} s, more than the "
                f"{max_seconds:g} s of config.data.max_seconds. Event times must be seconds (of milliseconds, write "
                "times * 1e-3 into the file); if they are, leave out the event with a wrong time, or set "
                "--config.data.max_seconds to what the recordings last"
            )
        num_bins.extend(of_chunk)
    return np.array(num_bins)


def _bin_file(path: Path, binning: Binning, num_steps: np.ndarray, folder: Path) -> None:
    """Writes the counts of all recordings; those without steps are zero."""
    shape = (len(num_steps), int(num_steps.max()), binning.num_channels)
    # Written as a stream: a memory map would end the process when the disk is full.
    with (folder / COUNTS).open("wb") as file, _progress(path, len(num_steps)) as bar:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start, times, units in _chunks(path, TIMES, UNITS):
            filled = num_steps[start : start + len(times)] > 0
            counts = np.zeros((len(times), *shape[1:]), np.uint8)
            if filled.any():
                recordings = start + np.flatnonzero(filled)
                counts[filled] = _apply(path, recordings, bin_events, times[filled], units[filled], binning, shape[1])
            file.write(counts.data)
            bar.update(len(times))
    np.save(folder / NUM_STEPS, num_steps)


def _apply(path: Path, recordings: np.ndarray, function: Callable[..., np.ndarray], *args: Any) -> np.ndarray:
    """Calls a function of `events` for these recordings; its errors name the file's recording."""
    try:
        return function(*args)
    except EventError as error:
        remedy = " (config.data.skip_empty leaves such recordings out)" if "no events" in error.reason else ""
        raise DataError(
            f"{path}: recording {recordings[error.recording]}: {error.reason}{remedy}. Event times must be seconds, in "
            "order; if they are, the file is damaged, or config.data.step_ms or config.data.num_channels or "
            "config.data.num_units does not suit it"
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
        with h5py.File(path, locking="best-effort") as file:  # some file systems have no locks
            yield file
    except DataError:
        raise
    except Exception as error:  # h5py raises whatever it runs into
        if reason := storage_error(error):
            raise DataError(f"{path} cannot be read now ({reason}); try again") from error
        raise DataError(
            f"{path} is damaged, or not a file of event recordings ({_reason(error)}). Move it away to have it "
            "downloaded again, or set --config.data.dir to another folder"
        ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
