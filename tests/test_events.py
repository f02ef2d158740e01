import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.dataset import DataError
from data.events import Binning, EventError, bin_events, count_bins, milliseconds
from tests.recordings_file import random_events

REAL_DATA = os.environ.get("SEADLIF_DATA", "")
SHD = Binning(num_units=700, num_channels=140, bin_ms=4)


def tonic_frames(times, units, binning):
    """One recording through tonic's transforms, as the reference does it."""
    from tonic.io import make_structured_array
    from tonic.transforms import Downsample, ToFrame

    dtype = np.dtype([("t", int), ("x", int), ("p", int)])
    events = make_structured_array(times.astype(np.float64) * 1e6, units, 1, dtype=dtype)
    downsample = Downsample(
        time_factor=1e-3, sensor_size=(binning.num_units, 1, 1), target_size=(binning.num_channels, 1)
    )
    to_frame = ToFrame(sensor_size=(binning.num_channels, 1, 1), time_window=binning.bin_ms)
    return to_frame(downsample(events))[:, 0]


def assert_equals_tonic(times, units, binning):
    bins = count_bins(times, binning)
    frames = bin_events(times, units, binning, int(bins.max()) + 3)
    assert frames.dtype == np.uint8
    for recording, (ours, num_bins) in enumerate(zip(frames, bins, strict=True)):
        theirs = tonic_frames(times[recording], units[recording], binning)
        assert len(theirs) == num_bins
        np.testing.assert_array_equal(ours[:num_bins], theirs)
        assert not ours[num_bins:].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("binning", [SHD, Binning(700, 140, 10), Binning(700, 70, 1), Binning(700, 300, 7)])
def test_frames_are_those_of_tonic(dtype, binning):
    times, units = random_events(np.random.default_rng(binning.bin_ms), dtype=dtype)
    assert_equals_tonic(times, units, binning)


@pytest.mark.parametrize("last_ms", [0, 1, 3, 4, 5, 7, 8, 9, 400])
def test_the_last_partial_bin_is_that_of_tonic(last_ms):
    """A recording shorter than a bin has one; an event that would begin another bin is dropped."""
    times = [np.array([7, 7, 7 + last_ms]) / 1000 + 1e-5]
    assert_equals_tonic(times, [np.array([3, 4, 699])], SHD)


@pytest.mark.skipif(not REAL_DATA, reason="SEADLIF_DATA does not name a folder with spoken_digits/SHD")
@pytest.mark.parametrize("split", ["train", "test"])
def test_frames_of_all_spoken_digits_are_those_of_tonic(split):
    with h5py.File(Path(REAL_DATA) / "spoken_digits" / "SHD" / f"shd_{split}.h5") as file:
        times, units = file["spikes/times"][:], file["spikes/units"][:]
    assert len(times) == {"train": 1800, "test": 400}[split]
    assert_equals_tonic(times, units, SHD)


def test_events_are_counted_in_the_bin_and_channel_they_belong_to():
    times = [np.array([0.010, 0.0139, 0.0140, 0.0141, 0.0219]), np.array([0.5, 0.5, 0.504])]
    units = [np.array([0, 4, 5, 9, 699]), np.array([10, 14, 15])]
    frames = bin_events(times, units, SHD, num_steps=3)
    expected = np.zeros((2, 3, 140), int)
    expected[0, 0, 0] = 2
    expected[0, 1, 1] = 2  # the event at 21.9 ms lies in the partial third bin
    expected[1, 0, 2] = 2
    np.testing.assert_array_equal(frames, expected)


def test_times_are_truncated_by_way_of_microseconds():
    assert milliseconds(np.array([0.0, 0.0009999, 0.001, 1.1999999, 1999.9])).tolist() == [0, 0, 1, 1199, 1999900]
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    np.testing.assert_array_equal(milliseconds(halves), milliseconds(halves.astype(np.float64)))


def test_a_count_beyond_uint8_is_refused_not_wrapped():
    times, units = [np.array([0.1]), np.full(256, 0.1)], [np.array([0]), np.arange(256) % 5]
    with pytest.raises(EventError, match="recording 1: a channel has 256 events in a bin of 4 ms, more than the 255"):
        bin_events(times, units, SHD, num_steps=1)
    assert bin_events([times[1][1:]], [units[1][1:]], SHD, num_steps=1).max() == 255


@pytest.mark.parametrize(
    ("times", "units", "message"),
    [
        ([0.1, np.nan, 0.2], [0, 1, 2], r"an event time is not in \[0, 2000\) seconds"),
        ([0.1, -0.1, 0.2], [0, 1, 2], r"an event time is not in \[0, 2000\) seconds"),
        ([0.1, 0.2, 3000.0], [0, 1, 2], r"an event time is not in \[0, 2000\) seconds"),
        ([0.1, 0.3, 0.2], [0, 1, 2], "its events are not in order of time"),
        ([0.1, 0.2, 0.3], [0, 700, 2], r"an event is of unit 700; they must be in 0\.\.699"),
        ([0.1, 0.2, 0.3], [0, -1, 2], "an event is of unit -1"),
        ([], [], "it has no events"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_events_out_of_range_are_refused_and_the_recording_named(dtype, times, units, message):
    times = [np.array([0.5, 0.6], dtype), np.array(times, dtype), np.array([0.05], dtype)]
    units = [np.array([1, 1]), np.array(units, int), np.array([1])]
    with pytest.raises(EventError, match=f"recording 1: {message}") as error:
        bin_events(times, units, SHD, num_steps=100)
    assert error.value.recording == 1


def test_recordings_without_a_valid_beginning_and_end_have_no_number_of_bins():
    good = np.array([0.1, 0.3])
    for bad in ([], [0.3, 0.1], [0.1, np.nan], [-1.0, 0.1]):
        with pytest.raises(EventError, match="recording 1"):
            count_bins([good, np.array(bad)], SHD)


def test_more_bins_than_steps_are_refused():
    times, units = [np.array([0.1, 0.11]), np.array([0.1, 0.2])], [np.array([1, 1])] * 2
    with pytest.raises(EventError, match="recording 1: it has 25 bins, more than the 24 steps asked for"):
        bin_events(times, units, SHD, num_steps=24)


def test_no_recordings_and_units_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="no recordings"):
        bin_events([], [], SHD, num_steps=1)
    with pytest.raises(DataError, match="float64; they must be whole numbers"):
        bin_events([np.array([0.1])], [np.array([1.0])], SHD, num_steps=1)


def test_as_many_units_as_times_are_needed():
    with pytest.raises(EventError, match="not as many units as event times"):
        bin_events([np.array([0.1, 0.2])], [np.array([1])], SHD, num_steps=30)
