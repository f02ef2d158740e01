import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.events import Binning, EventError, bin_events, count_bins, milliseconds
from tests.recordings_file import random_events

REAL_DATA = os.environ.get("SEADLIF_DATA", "")
SHD = Binning(num_units=700, num_channels=140, bin_ms=4)


def tonic_frames(times, units, binning):
    """One recording through tonic's transforms, as the reference does it."""
    from tonic.io import make_structured_array
    from tonic.transforms import Downsample, ToFrame

    dtype = np.dtype([("t", int), ("x", int), ("p", int)])
    microseconds = times.astype(np.float64) * 1e6
    if times.dtype != np.float16:  # which is what the files have that the reference reads
        microseconds = np.rint(microseconds)
    events = make_structured_array(microseconds, units, 1, dtype=dtype)
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


def test_times_are_taken_to_the_nearest_microsecond():
    times = np.array([0.0, 0.000999, 0.0009994, 0.0009996, 0.001, 1.1999994, 1999.9])
    assert milliseconds(times).tolist() == [0, 0, 0, 1, 1, 1199, 1999900]


def test_half_precision_is_truncated_by_way_of_microseconds():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    valid = (halves >= 0) & (halves < 2000)
    microseconds = (halves[valid].astype(np.float64) * 1e6).astype(np.int64)
    np.testing.assert_array_equal(milliseconds(halves[valid]), microseconds // 1000)
    assert (milliseconds(halves[~valid]) == -1).all()


@pytest.mark.parametrize(
    "in_seconds",
    [
        lambda ms: ms * 1000 * 1e-6,
        lambda ms: ms / 1000,
        lambda ms: (ms / 1000).astype(np.float32),
        lambda ms: ms.astype(np.float32) * np.float32(1e-3),
        lambda ms: (ms / 1000).astype(">f8"),
        lambda ms: (ms / 1000).astype(np.longdouble),
        lambda ms: ms.astype("m8[ms]"),
        lambda ms: (ms * 1000).astype("m8[us]"),
        lambda ms: (ms * 10**6).astype("m8[ns]"),
        lambda ms: np.datetime64("2024-02-29T12:00") + ms.astype("m8[ms]"),
        lambda ms: (ms / 1000).tolist(),
    ],
)
@pytest.mark.parametrize("longest", [1_000, 200_000])
def test_whole_milliseconds_are_one_event_a_bin_however_they_are_given(in_seconds, longest):
    ms = np.arange(0, longest, longest // 1000)
    times, binning = [in_seconds(ms)], Binning(10, 10, longest // 1000)
    num_steps = count_bins(times, binning)[0]
    assert num_steps == 999
    counts = bin_events(times, [np.zeros(len(ms), int)], binning, num_steps)
    assert (counts[..., 0] == 1).all()


def structured(times, units, **fields):
    events = np.zeros(len(times), [("t", int), ("x", int), *((name, int) for name in fields)])
    events["t"], events["x"] = times, units
    for name, values in fields.items():
        events[name] = values
    return events


def test_events_of_tonic_are_binned_as_by_tonic():
    times, units = random_events(np.random.default_rng(0), dtype=np.float64)
    events = [structured(np.rint(t * 1e6), u, p=1) for t, u in zip(times, units, strict=True)]
    num_steps = count_bins(events, SHD).max()
    expected = bin_events(times, units, SHD, num_steps)
    np.testing.assert_array_equal(bin_events(events, None, SHD, num_steps), expected)


@pytest.mark.parametrize(
    ("times", "units", "message"),
    [
        (
            [np.arange(3)],
            [[0, 1, 2]],
            r"recording 0: its event times are int64, whole .*astype\('timedelta64\[us\]'\)",
        ),
        ([[0.1, 0.2], np.arange(3, dtype=np.uint32)], [[0, 1], [0, 1, 2]], "recording 1: its event times are uint32"),
        ([np.array(["0.1"])], [[0]], "its event times are <U3; they must be seconds as floats"),
        ([np.array([0.1 + 0j])], [[0]], "its event times are complex128"),
        ([np.array([True])], [[0]], "its event times are bool"),
        ([np.ones((2, 3))], [[0, 1]], r"its event times have shape \(2, 3\)"),
        (np.array([0.1, 0.2]), [[0, 1]], r"one a recording; for a single recording, pass \[times\]"),
        ([np.ma.masked_array([0.1, 0.2], [True, False])], [[0, 1]], "it has masked event times"),
        ([np.array(["NaT"], "m8[us]")], [[0]], "an event time is not in"),
        ([structured([1, 2], [0, 1])], [[0, 1]], "units are given twice"),
        ([[0.1, 0.2]], None, "not a structured array with the fields 't' and 'x'"),
        ([structured([1, 2], [0, 1], p=[0, 1])], None, "its events differ in 'p'; number the units"),
        ([structured([1, 2], [0, 1], y=[3, 4])], None, "its events differ in 'y'; number the units"),
        ([np.zeros(2, [("t", float), ("x", int)])], None, "its field 't' is float64; it must be whole microseconds"),
    ],
)
def test_events_without_one_meaning_are_refused_with_the_remedy(times, units, message):
    with pytest.raises(DataError, match=message):
        bin_events(times, units, SHD, num_steps=100)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("bin_ms", value) for value in (0.5, 0, -4, float("nan"), float("inf"), 10**9, "4", None, True)),
        *(("num_channels", value) for value in (0, 701, 1.5)),
        *(("num_units", value) for value in (0, -1, float("nan"))),
    ],
)
def test_a_binning_that_makes_no_sense_is_refused(field, value):
    times, units = [np.array([0.1, 0.2])], [np.array([0, 1])]
    for refuse in (lambda b: count_bins(times, b), lambda b: bin_events(times, units, b, num_steps=30)):
        with pytest.raises(DataError, match=rf"Binning.{field} = .*: it must be a whole number"):
            refuse(SHD._replace(**{field: value}))


def test_a_width_given_as_a_float_is_that_of_the_config():
    times, units = random_events(np.random.default_rng(0))
    num_steps = count_bins(times, SHD).max()
    assert np.array_equal(count_bins(times, SHD._replace(bin_ms=4.0)), count_bins(times, SHD))
    ours = bin_events(times, units, SHD._replace(bin_ms=4.0, num_channels=np.int64(140)), num_steps)
    np.testing.assert_array_equal(ours, bin_events(times, units, SHD, num_steps))
    with pytest.raises(DataError, match=r"num_steps = 30.5: it must be a whole number"):
        bin_events(times, units, SHD, 30.5)


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
