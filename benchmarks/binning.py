"""Time and memory of binning event recordings, compared with a loop over tonic's transforms.

    python -m benchmarks.binning --file=DIR/SHD/shd_train.h5 --copies=6

The file is binned three times each by tonic (recording by recording, as a data loader does) and by this library, in
memory and with the cache written; the frames are compared. Then a file with `copies` times the recordings is generated
and binned; the peak memory of the process is measured before and after.
"""

import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from absl import app, flags

from benchmarks.machine import peak_mib
from seadlif_jax.data.events import Binning, bin_events, count_bins
from seadlif_jax.data.recordings import CHUNK, frames

FILE = flags.DEFINE_string("file", None, "An .h5 file in SHD's format.", required=True)
COPIES = flags.DEFINE_integer("copies", 6, "Size of the generated file, in copies of the file.")
BINNING = Binning(num_units=700, num_channels=140, bin_ms=4)
PAD_TO = 250
ROUNDS = 3
SSC_RECORDINGS = 75_466


def with_tonic(path: Path) -> list[np.ndarray]:
    from tonic.datasets.hsd import HSD
    from tonic.transforms import Compose, Downsample, ToFrame

    transform = Compose(
        [
            Downsample(time_factor=1e-3, sensor_size=(700, 1, 1), target_size=(140, 1)),
            ToFrame(sensor_size=(140, 1, 1), time_window=4),
        ]
    )
    dataset = HSD(str(path.parent), transform=transform)
    dataset.location_on_system, dataset.data_filename = str(path.parent), path.name
    return [dataset[index][0][:, 0] for index in range(len(dataset))]


def with_cache(path: Path) -> np.ndarray:
    """Return the frames as in a first run: read, bin, write the cache and its checksums."""
    with tempfile.TemporaryDirectory() as cache:
        return np.array(frames(path, BINNING, PAD_TO, Path(cache)).counts)


def in_memory(path: Path) -> list[np.ndarray]:
    """Return the frames without a cache, like the loop over tonic."""
    with h5py.File(path) as file:
        times, units = file["spikes/times"][:], file["spikes/units"][:]
    num_steps = int(count_bins(times, BINNING).max())
    chunks = [slice(start, start + CHUNK) for start in range(0, len(times), CHUNK)]
    return [bin_events(times[chunk], units[chunk], BINNING, num_steps) for chunk in chunks]


def bin_large(path: Path, cache: Path) -> dict[str, float]:
    """Return figures of binning a large file; run in a separate process to measure its memory."""
    before = peak_mib()
    seconds, (counts, _) = timed(lambda path: frames(path, BINNING, PAD_TO, cache), path)
    return {
        "recordings": len(counts),
        "file_mib": path.stat().st_size / 2**20,
        "array_mib": counts.nbytes / 2**20,
        "seconds": seconds,
        "peak_mib_before": before,
        "peak_mib_after": peak_mib(),
        "ssc_train_seconds_extrapolated": seconds * SSC_RECORDINGS / len(counts),
        "seconds_from_cache": timed(lambda path: frames(path, BINNING, PAD_TO, cache), path)[0],
    }


def timed(function, path):
    start = time.perf_counter()
    result = function(path)
    return time.perf_counter() - start, result


def enlarge(path: Path, copies: int, folder: Path) -> Path:
    """Write a file with several copies of the recordings, each shifted in time; return its path."""
    target = folder / "enlarged.h5"
    with h5py.File(path) as source, h5py.File(target, "w") as file:
        number = len(source["labels"])
        file["labels"] = np.tile(source["labels"][:], copies)
        for name in ("spikes/times", "spikes/units"):
            content = source[name][:]
            dataset = file.create_dataset(name, (copies * number,), dtype=source[name].dtype)
            for copy in range(copies):
                shift = np.float16(0.01 * copy) if name == "spikes/times" else np.uint16(0)
                shifted = np.empty(number, object)
                shifted[:] = [array + shift for array in content]
                dataset[copy * number : (copy + 1) * number] = shifted
    return target


def main(_: Sequence[str]) -> None:
    path = Path(FILE.value)
    frames_of: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {"tonic": [], "in_memory": [], "with_cache": []}
    for _round in range(ROUNDS):
        for name, function in (("tonic", with_tonic), ("in_memory", in_memory), ("with_cache", with_cache)):
            duration, frames_of[name] = timed(function, path)
            seconds[name].append(duration)
    for recording, expected in zip(frames_of["with_cache"], frames_of["tonic"], strict=True):
        assert np.array_equal(recording[: len(expected)], expected), "not the frames of tonic"
        assert not recording[len(expected) :].any()

    def ratio(name: str) -> float:
        return statistics.median(t / s for t, s in zip(seconds["tonic"], seconds[name], strict=True))

    result = {
        "recordings": len(frames_of["tonic"]),
        "seconds": seconds,
        "tonic_to_in_memory_median": ratio("in_memory"),
        "tonic_to_with_cache_median": ratio("with_cache"),
    }
    with tempfile.TemporaryDirectory() as folder:
        large = enlarge(path, COPIES.value, Path(folder))
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            result["large"] = process.submit(bin_large, large, Path(folder) / "cache").result()
    result |= {"load": os.getloadavg()[0], "cores": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    app.run(main)
