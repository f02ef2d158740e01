import errno
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from seadlif_jax.data import recordings
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.events import Binning, bin_events, count_bins
from seadlif_jax.data.recordings import CHUNK, frames, read
from tests.helpers import ROOT
from tests.recordings_file import random_events, write

SHD = Binning(num_units=700, num_channels=140, bin_ms=4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shd_train.h5"


def test_a_file_is_read(path):
    write(path, recordings=12, classes=3)
    found = read(path)
    assert found.labels.tolist() == [0, 1, 2] * 4
    assert found.speakers.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    write(path, **{"extra/speaker": None})
    assert read(path).speakers is None


@pytest.mark.parametrize("num_recordings", [1, CHUNK, 2 * CHUNK + 1])
def test_frames_are_all_recordings_binned_and_padded(path, tmp_path, num_recordings):
    times, units = write(path, num_recordings)
    counts, num_steps = frames(path, SHD, pad_to=200, cache=tmp_path / "cache")
    bins = count_bins(times, SHD)
    np.testing.assert_array_equal(num_steps, np.maximum(bins, 200))
    assert counts.shape == (num_recordings, num_steps.max(), 140)
    np.testing.assert_array_equal(counts, bin_events(times, units, SHD, num_steps.max()))


def test_frames_come_from_the_cache_as_a_memory_map(path, tmp_path, monkeypatch):
    write(path)
    before = frames(path, SHD, 0, tmp_path / "cache")
    monkeypatch.setattr(recordings, "_bin_file", None)
    after = frames(path, SHD, 0, tmp_path / "cache")
    assert isinstance(after.counts, np.memmap)
    np.testing.assert_array_equal(before.counts, after.counts)
    np.testing.assert_array_equal(before.num_steps, after.num_steps)


def test_another_file_or_binning_is_binned_anew(path, tmp_path):
    cache = tmp_path / "cache"
    write(path)
    first = frames(path, SHD, 0, cache)
    assert frames(path, SHD._replace(bin_ms=8), 0, cache).counts.shape[1] < first.counts.shape[1]
    assert frames(path, SHD._replace(num_channels=70), 0, cache).counts.shape[2] == 70
    assert frames(path, SHD, 400, cache).counts.shape[1] == 400
    os.utime(path, ns=(0, 0))
    write(path, seed=1)
    assert not np.array_equal(frames(path, SHD, 0, cache).counts, first.counts)


def test_a_damaged_file_is_one_clear_error(path):
    write(path)
    content = path.read_bytes()
    for damaged in (content[:500], content[: len(content) // 2], b"PK" + content[2:], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"shd_train.h5 is damaged, or not a file of event recordings"):
            read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spikes/times": None}, r"it has no data set spikes/times \(it has extra/speaker, labels, spikes/units\)"),
        ({"spikes/units": None}, "it has no data set spikes/units"),
        ({"labels": None}, "it has no data set labels"),
        ({"labels": np.zeros(5, int)}, "lengths spikes/times 12, spikes/units 12, labels 5"),
        ({"labels": np.zeros(12)}, "labels are float64"),
        ({"labels": np.zeros((12, 2), int)}, "labels are int64"),
        ({"labels": 3}, "lengths spikes/times 12, spikes/units 12, labels -"),
        ({"extra/speaker": np.zeros(3, int)}, "extra/speaker 3"),
        (
            {"spikes/times": np.zeros((12, 7))},
            r"spikes/times holds float64 \(12, 7\), not one array for each",
        ),
        ({"spikes/times": [np.arange(3)] * 12}, r"holds int64, whole numbers without a unit; .* write times \* 1e-6"),
        ({"spikes/times": [np.arange(3, dtype=np.uint32)] * 12}, "holds uint32, whole numbers without a unit"),
        ({"spikes/units": [np.zeros(3)] * 12}, "spikes/units holds float64; it must be whole numbers"),
    ],
)
def test_a_file_of_another_layout_is_not_called_damaged(path, changes, message):
    write(path, **changes)
    with pytest.raises(
        DataError, match=f"shd_train.h5 does not have the layout .*{message}.*docs/own-data.md"
    ) as error:
        read(path)
    assert "damaged" not in str(error.value)
    assert "download" not in str(error.value)


def test_a_filter_that_is_not_installed_is_named(path, monkeypatch):
    write(path, labels=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("labels", data=np.zeros(12, int), compression="gzip")
    assert len(read(path).labels) == 12
    monkeypatch.setattr(recordings.h5py.h5z, "filter_avail", lambda code: False)
    with pytest.raises(DataError, match=r"labels is compressed with the HDF5 filter 1 \(deflate\).*HDF5_PLUGIN_PATH"):
        read(path)


@pytest.mark.parametrize(
    ("change", "seconds"),
    [
        (lambda times: [1000 * t for t in times], "[0-9,]+"),  # milliseconds
        (lambda times: [*times[:5], np.append(times[5], 900), *times[6:]], "900"),  # one corrupt time
        (lambda times: [*times[:5], np.append(times[5], 11.5), *times[6:]], "11"),
    ],
)
def test_recordings_that_last_too_long_are_refused_before_a_cache_is_written(path, tmp_path, change, seconds):
    times, _ = random_events(np.random.default_rng(0), dtype=np.float32)
    times = [np.asarray(of_recording, np.float32) for of_recording in change(times)]
    units = [np.zeros(len(of_recording), np.uint16) for of_recording in times]
    write(path, **{"spikes/times": times, "spikes/units": units})
    message = rf"recording \d+ lasts {seconds} s, more than the 10 s of config.data.max_seconds.*times \* 1e-3"
    with pytest.raises(DataError, match=message):
        frames(path, SHD, 0, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("**/counts.npy"))


def test_longer_recordings_are_accepted_if_asked_for(path, tmp_path):
    times = [np.array([0.1, 20.0], np.float32)] * 12
    write(path, **{"spikes/times": times, "spikes/units": [np.zeros(2, np.uint16)] * 12})
    assert frames(path, SHD, 0, tmp_path / "cache", max_seconds=30.0).counts.shape[1] == 4975
    with pytest.raises(DataError, match=r"lasts 20 s, more than the 10 s"):  # though they are in the cache now
        frames(path, SHD, 0, tmp_path / "cache", max_seconds=10.0)


def test_recordings_without_events_are_skipped_if_asked_for(path, tmp_path):
    times, units = random_events(np.random.default_rng(0), 3 * CHUNK)
    empty = [0, CHUNK + 5, *range(2 * CHUNK, 3 * CHUNK)]  # a whole chunk, too
    for number in empty:
        times[number], units[number] = times[number][:0], units[number][:0]
    write(path, 3 * CHUNK, **{"spikes/times": times, "spikes/units": units})
    with pytest.raises(DataError, match=r"recording 0: it has no events \(config.data.skip_empty skips such"):
        frames(path, SHD, 0, tmp_path / "cache")
    counts, num_steps = frames(path, SHD, 100, tmp_path / "cache", skip_empty=True)
    filled = np.setdiff1d(np.arange(3 * CHUNK), empty)
    assert np.flatnonzero(num_steps).tolist() == filled.tolist()
    assert not counts[empty].any()
    expected = bin_events([times[n] for n in filled], [units[n] for n in filled], SHD, counts.shape[1])
    np.testing.assert_array_equal(counts[filled], expected)


def test_events_that_cannot_be_binned_name_the_recording_and_leave_no_cache(path, tmp_path):
    times, units = random_events(np.random.default_rng(0), 2 * CHUNK)
    units[CHUNK + 3][7] = 700
    write(path, 2 * CHUNK, **{"spikes/times": times, "spikes/units": units})
    with pytest.raises(DataError, match=rf"shd_train.h5: recording {CHUNK + 3}: an event is of unit 700"):
        frames(path, SHD, 0, tmp_path / "cache")
    times[CHUNK + 5] = times[CHUNK + 5][:0]
    write(path, 2 * CHUNK, **{"spikes/times": times, "spikes/units": units})
    with pytest.raises(DataError, match=rf"recording {CHUNK + 5}: it has no events"):
        frames(path, SHD, 0, tmp_path / "cache")
    assert not [entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]


def test_a_setting_that_does_not_suit_the_data_is_not_blamed_on_the_file_alone(path, tmp_path):
    write(path)
    with pytest.raises(
        DataError, match=r"more than the 255 that uint8 holds.* or config.data.step_ms, config.data.num_chan"
    ):
        frames(path, Binning(700, 1, 1000), 0, tmp_path / "cache")


def test_a_file_that_is_locked_is_not_called_damaged(path, monkeypatch):
    def locked(*_, **__):
        raise BlockingIOError(errno.EAGAIN, "unable to lock file")

    write(path)
    monkeypatch.setattr(recordings.h5py, "File", locked)
    with pytest.raises(DataError, match=r"shd_train.h5 cannot be read at the moment \(another program has locked it\)"):
        read(path)


def test_a_full_disk_is_an_error_not_the_end_of_the_process(path, tmp_path):
    """A limit on the size of files, in a process of its own, stands for the disk's."""
    write(path, 4 * CHUNK)
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));" + SLOW
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "cache")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1].startswith("seadlif_jax.data.dataset.DataError: cannot write to the cache")
    assert not [entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]


# Bins a file slowly, so that it can be killed half-way.
SLOW = """
import sys, time
from pathlib import Path
from seadlif_jax.data import recordings
from seadlif_jax.data.events import Binning
fast = recordings.bin_events
def slow(*args):
    time.sleep(0.05)
    return fast(*args)
recordings.bin_events = slow
recordings.frames(Path(sys.argv[1]), Binning(700, 140, 4), 250, Path(sys.argv[2]))
print("done")
"""


def test_of_two_processes_on_an_empty_cache_one_may_be_killed(path, tmp_path):
    num_recordings = 40 * CHUNK
    times, units = write(path, num_recordings)
    cache = tmp_path / "cache"
    expected = bin_events(times, units, SHD, num_steps=300)

    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    command = [sys.executable, "-c", SLOW, str(path), str(cache)]
    processes = []
    for log in logs:
        with log.open("w") as output:
            processes.append(subprocess.Popen(command, cwd=ROOT, stdout=output))

    def half_way():
        (counts,) = list(cache.glob("*.partial-*/counts.npy")) or [None]
        waits = [log.read_text().startswith("waiting for another process") for log in logs]
        return sum(waits) == 1 and counts and counts.stat().st_size > 5 * CHUNK * 250 * 140

    while not half_way():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    writing, waiting = processes if "waiting" in logs[1].read_text() else reversed(processes)
    writing.kill()
    assert writing.wait() == -signal.SIGKILL

    # The other one makes it anew, and whoever comes next reads it.
    assert waiting.wait() == 0
    assert sorted(log.read_text().endswith("done\n") for log in logs) == [False, True]
    (entry,) = (folder for folder in cache.iterdir() if folder.is_dir())
    assert ".partial" not in entry.name
    counts, num_steps = frames(path, SHD, 250, cache)
    np.testing.assert_array_equal(num_steps, np.maximum(count_bins(times, SHD), 250))
    np.testing.assert_array_equal(counts, expected[:, : counts.shape[1]])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ESTALE, "stale"),
        OSError(errno.EMFILE, "too many"),
        PermissionError(errno.EACCES, "denied"),
        MemoryError(),
        OSError("Can't synchronously read data (file read failed: filename = 'x', errno = 5, error message = 'I/O')"),
    ],
)
def test_an_error_of_the_storage_says_nothing_of_the_file(path, monkeypatch, error):
    write(path, recordings=1)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(h5py, "File", fail)
    with pytest.raises(DataError, match=r"shd_train.h5 cannot be read at the moment \([\w /]+\); try again"):
        read(path)


def test_another_file_of_the_same_size_and_time_is_binned_anew(path, tmp_path):
    write(path, recordings=3, seed=0)
    status = path.stat()
    before = np.array(frames(path, SHD, pad_to=200, cache=tmp_path / "cache").counts)
    content = path.read_bytes()
    write(path, recordings=3, seed=1)
    changed = path.read_bytes()[: len(content)].ljust(len(content), b"\0")
    path.write_bytes(changed)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    after = frames(path, SHD, pad_to=200, cache=tmp_path / "cache").counts
    assert not np.array_equal(before, after)
