"""Reading the .h5 files of the Heidelberg data sets (Cramer et al. 2020): labels, speakers and binned events.

A file holds, for each recording, the times (in seconds) and units of its events in `spikes/times` and `spikes/units`,
its class in `labels`, and the number of its speaker in `extra/speaker`.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from tqdm import tqdm

from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.events import Binning, EventError, bin_events, count_bins
from seadlif_jax.data.file_cache import cached_from_files, file_identity
from seadlif_jax.data.probe import probe_file
from seadlif_jax.utils.errors import storage_error

TIMES, UNITS, LABELS, SPEAKERS = "spikes/times", "spikes/units", "labels", "extra/speaker"
NUM_UNITS = 700  # of the Heidelberg data sets
MAX_SECONDS = 10.0  # of a recording; theirs last up to 1.4
MAX_NAMES = 8  # of data sets, in an error
READ = 256  # recordings read at a time: enough to hide the overhead of HDF5
CHUNK = 16  # recordings binned in one pass: few enough that their counts stay in the processor's cache
CACHE_VERSION = 2  # a new number invalidates all caches
COUNTS, NUM_STEPS = "counts.npy", "num_steps.npy"


class _UnreadableError(Exception):
    """Reading has raised an exception: the file is not marked as checked."""


class Recordings(NamedTuple):
    """The recordings of a file, without their events: `labels [recording]`, `speakers [recording]` if it has them."""

    path: Path
    labels: np.ndarray
    speakers: np.ndarray | None


class Frames(NamedTuple):
    """Event counts uint8 `[recording, time, channel]`, and the number of steps of each recording, padding excluded."""

    counts: np.ndarray
    num_steps: np.ndarray


def read(path: Path) -> Recordings:
    """Read everything but the events.

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
            f"{path} does not have the layout of the Heidelberg data sets: {reason}. For recordings in another "
            "layout, write a loader: see docs/own-data.md"
        )

    datasets = {name: file.get(name) for name in (TIMES, UNITS, LABELS, SPEAKERS)}
    for name, dataset in datasets.items():
        if not isinstance(dataset, h5py.Dataset) and name != SPEAKERS:
            raise refuse(f"it has no data set {name} (it has {', '.join(_names(file)[:MAX_NAMES]) or 'none'})")
    present = {name: dataset for name, dataset in datasets.items() if isinstance(dataset, h5py.Dataset)}
    for name, dataset in present.items():
        settings = dataset.id.get_create_plist()
        for number in range(settings.get_nfilters()):
            code, _, _, filter_name = settings.get_filter(number)
            if not h5py.h5z.filter_avail(code):
                raise DataError(
                    f"{path}: {name} is compressed with the HDF5 filter {code} ({filter_name.decode()}), which is not "
                    "installed. Install it (most are in the package hdf5plugin) and set HDF5_PLUGIN_PATH to its "
                    "folder (hdf5plugin.PLUGIN_PATH), or rewrite the file with gzip or without compression"
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
            raise refuse(f"{name} holds {present[name].dtype} {shape}, not one array for each recording")
        if name == TIMES and content.kind in "iu":
            raise refuse(
                f"{name} holds {content}, whole numbers without a unit; they must be seconds as floats: for "
                "microseconds, write times * 1e-6"
            )
        if content.kind not in kind:
            raise refuse(f"{name} holds {content}; it must be {meaning}")


def _names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def check(path: Path, cache: Path) -> None:
    """Read a whole file in a child process, unless the cache has recorded that this has succeeded.

    A file that merely raises an exception is left to `read` and `frames`, which report it.

    Raises:
      DataError: reading crashed the child process, or did not end; or the cache cannot be written.
    """

    def read_through(folder: Path) -> None:
        if not probe_file(path, read_all):
            raise _UnreadableError

    if cache.is_dir() and not os.access(cache, os.W_OK):  # of another user
        probe_file(path, read_all)
        return
    with contextlib.suppress(_UnreadableError):
        cached_from_files(cache, f"{path.stem}-checked", file_identity(path), read_through)


def read_all(path: Path) -> Iterator[None]:
    """Read everything, a few recordings at a time."""
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
    """Return the binned events of a file, every recording with at least `pad_to` steps, the last of them empty.

    The counts are memory-mapped from the cache, to which they are first written in bounded memory. With `skip_empty`, a
    recording without events has no steps; otherwise it is refused.

    Raises:
      DataError: the file is damaged, has a recording of more than `max_seconds` or events that cannot be binned, or the
        cache cannot be written.
    """
    key = {
        "version": CACHE_VERSION,
        **file_identity(path),
        "pad_to": pad_to,
        "max_seconds": max_seconds,
        "skip_empty": skip_empty,
        **binning._asdict(),
    }

    def make(folder: Path) -> None:
        num_bins = _count_bins(path, binning, max_seconds, skip_empty)
        _bin_file(path, binning, np.where(num_bins > 0, np.maximum(num_bins, pad_to), 0), folder)

    entry = cached_from_files(cache, path.stem, key, make)
    try:
        return Frames(np.load(entry / COUNTS, mmap_mode="r"), np.load(entry / NUM_STEPS))
    except ValueError as error:  # such as an array of objects
        raise DataError(f"the cache {entry} is damaged; delete it ({error})") from error


def _count_bins(path: Path, binning: Binning, max_seconds: float, skip_empty: bool) -> np.ndarray:
    """Return the number of bins of every recording, in a separate pass: reading is the lesser part of the work."""
    num_bins: list[int] = []
    for start, times in _chunks(path, TIMES):
        filled = np.array([len(events) > 0 or not skip_empty for events in times])
        chunk_bins = np.zeros(len(times), np.int64)
        if filled.any():
            chunk_bins[filled] = _apply(path, start + np.flatnonzero(filled), count_bins, times[filled], binning)
        seconds = chunk_bins * binning.bin_ms / 1000
        longest = np.max(seconds)
        if longest > max_seconds:
            raise DataError(
                f"{path}: recording {start + np.argmax(seconds)} lasts {longest:,.0f} s, more than the "
                f"{max_seconds:g} s of config.data.max_seconds. Event times must be seconds (for milliseconds, write "
                "times * 1e-3 into the file); if they are, remove the event with a wrong time, or raise "
                "--config.data.max_seconds"
            )
        num_bins.extend(chunk_bins)
    return np.array(num_bins)


def _bin_file(path: Path, binning: Binning, num_steps: np.ndarray, folder: Path) -> None:
    """Write the counts of all recordings; recordings without steps are zero."""
    shape = (len(num_steps), int(num_steps.max()), binning.num_channels)
    # Written as a stream: a memory map would abort the process when the disk is full.
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
    """Call a function of `events` for these recordings; its errors name the file and the recording."""
    try:
        return function(*args)
    except EventError as error:
        remedy = " (config.data.skip_empty skips such recordings)" if "no events" in error.reason else ""
        raise DataError(
            f"{path}: recording {recordings[error.recording]}: {error.reason}{remedy}. Event times must be seconds, in "
            "order; if they are, the file is damaged, or config.data.step_ms, config.data.num_channels or "
            "config.data.num_units does not fit it"
        ) from error


def _progress(path: Path, num_recordings: int) -> tqdm:
    return tqdm(total=num_recordings, desc=f"binning {path.name}", unit="recording", disable=None, leave=False)


def _chunks(path: Path, *names: str) -> Iterator[tuple]:
    """Yield the index of a first recording, and arrays of a few recordings from it on."""
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
    except Exception as error:  # h5py raises many types
        if reason := storage_error(error):
            raise DataError(f"{path} cannot be read at the moment ({reason}); try again") from error
        raise DataError(
            f"{path} is damaged, or not a file of event recordings ({_reason(error)}). Remove it to download it "
            "again, or set --config.data.dir to another folder"
        ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
