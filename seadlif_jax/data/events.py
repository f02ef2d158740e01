"""Binning of recorded events to frames: the number of events of each channel in each time window.

The result is that of `tonic.transforms.Downsample(time_factor=1e-3, target_size=(num_channels, 1), ...)` and then
`tonic.transforms.ToFrame(time_window=bin_ms)`, bit for bit, for all events of many recordings at once:

- event times in float16, as in the files of SHD and SSC, are truncated to whole microseconds, then to milliseconds; all
  others are first rounded to the nearest microsecond, so that 0.007 is 7 ms in every dtype;
- neighbouring units are merged to channels, `channel = floor(unit * num_channels / num_units)`;
- bins of `bin_ms` start at a recording's first event; the last, partial bin is dropped, but a recording shorter than a
  bin has one;
- a bin holds the number of events, not just zero or one.
"""

import functools
import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seadlif_jax.data.dataset import DataError

MAX_COUNT = int(np.iinfo(np.uint8).max)
MAX_TIME = 2000  # seconds; in microseconds, it fits 32 bits
Arrays = Sequence[Any] | np.ndarray  # one array a recording


class EventError(DataError):
    """Events of a recording that cannot be binned.

    Attributes:
      recording: index of the recording.
      reason: the problem with it.
    """

    def __init__(self, recording: int, reason: str):
        super().__init__(f"recording {recording}: {reason}")
        self.recording = recording
        self.reason = reason


class Binning(NamedTuple):
    """Settings of the binning.

    Attributes:
      num_units: number of units of the recordings.
      num_channels: number of channels that they are merged to.
      bin_ms: width of a bin in whole milliseconds.
    """

    num_units: int
    num_channels: int
    bin_ms: int

    def num_bins(self, first_ms: np.ndarray, last_ms: np.ndarray) -> np.ndarray:
        """Return the number of whole bins between the first and the last event of each recording, at least one."""
        return np.maximum((last_ms - first_ms) // self.bin_ms, 1)


def bin_events(times: Arrays, units: Arrays | None, binning: Binning, num_steps: Any) -> np.ndarray:
    """Return the event counts of recordings, uint8 `[recording, num_steps, channel]`, computed in one pass.

    Args:
      times: the event times of each recording, in order: seconds as floats; `timedelta64`; `datetime64`, which is
        counted from the first event; or tonic's events, structured arrays with microseconds in `t` and units in `x`.
      units: the units of these events; None for structured arrays.
      binning: the settings.
      num_steps: a whole number, at least the number of bins of every recording; the steps after a recording's last bin
        are zero.

    Raises:
      EventError: a recording has no events, times without a unit, a time or unit out of range, events out of order,
        more bins than `num_steps`, or more than 255 events in a bin.
      DataError: a setting is out of range.
    """
    binning = _checked(binning)
    if not isinstance(num_steps, numbers.Integral) or num_steps < 1:
        raise DataError(f"num_steps = {num_steps!r}: it must be a whole number of at least 1")
    if units is None:
        units = [_units_of_structured(values, number) for number, values in enumerate(times)]
    elif len(times) and _fields(times[0]):
        raise DataError("units are given twice: structured arrays of events have them in 'x'; pass units=None")
    times = _in_seconds(times)
    lengths = _lengths(times)
    units = [np.asarray(values) for values in units]
    if not np.array_equal(lengths, [values.size for values in units]):
        raise EventError(0, "it, or one after it, has not as many units as event times")
    starts = np.cumsum(lengths) - lengths

    def refuse(event: Any, reason: str) -> EventError:
        return EventError(int(np.searchsorted(starts, event, side="right")) - 1, reason)

    ms, unit = milliseconds(np.concatenate(times)), np.concatenate(units)
    if ms.min() < 0:
        raise refuse(np.argmin(ms), f"an event time is not in [0, {MAX_TIME}) seconds")
    if unit.dtype.kind not in "iu":
        raise EventError(0, f"its units, or those of one after it, are {unit.dtype}; they must be whole numbers")
    if unit.min() < 0 or unit.max() >= binning.num_units:
        event = np.argmax(unit) if unit.max() >= binning.num_units else np.argmin(unit)
        raise refuse(event, f"an event is of unit {unit[event]}; they must be in 0..{binning.num_units - 1}")
    early = ms[1:] < ms[:-1]
    early[starts[1:] - 1] = False  # from one recording to the next
    if early.any():
        raise refuse(np.argmax(early) + 1, "its events are not in order of time")

    first = ms[starts]
    bins = binning.num_bins(first, ms[starts + lengths - 1])
    if bins.max() > num_steps:
        raise EventError(int(np.argmax(bins)), f"it has {bins.max()} bins, more than the {num_steps} steps asked for")
    # The index of every event in the flattened result, in few and cheap passes: in 32 bits if they suffice, and by
    # `take`, which is faster than indexing. Each recording has one step more, for its last, partial bin.
    shape = (len(lengths), int(num_steps) + 1, binning.num_channels)
    fits = math.prod(shape) * binning.bin_ms < np.iinfo(np.int32).max
    offset = shape[1] * binning.bin_ms * np.arange(len(lengths)) - first
    place = np.repeat(offset.astype(np.int32 if fits else np.int64), lengths)
    place += ms
    place //= binning.bin_ms
    place *= binning.num_channels
    channel = (np.arange(binning.num_units) * (binning.num_channels / binning.num_units)).astype(place.dtype)
    place += channel.take(unit)
    # In a dtype that cannot overflow: a bin holds at most all events of a recording.
    counts = np.zeros(math.prod(shape), np.min_scalar_type(lengths.max()))
    np.add.at(counts, place, counts.dtype.type(1))
    counts = counts.reshape(shape)
    counts[np.arange(len(lengths)), bins] = 0
    counts = counts[:, :num_steps]
    if counts.max() > MAX_COUNT:
        raise EventError(
            int(np.argmax(counts.max(axis=(1, 2)))),
            f"a channel has {counts.max()} events in a bin of {binning.bin_ms} ms, more than the {MAX_COUNT} that "
            "uint8 holds; choose a smaller bin",
        )
    return counts.astype(np.uint8)


def count_bins(times: Arrays, binning: Binning) -> np.ndarray:
    """Return the number of bins of each recording, from event times as `bin_events` takes them.

    Raises:
      EventError: a recording has no events, times without a unit, or begins or ends at a time out of range.
      DataError: a setting is out of range.
    """
    binning = _checked(binning)
    times = _in_seconds(times)
    _lengths(times)
    first, last = (milliseconds(np.array([values[i] for values in times])) for i in (0, -1))
    wrong = (first < 0) | (last < first)
    if wrong.any():
        raise EventError(
            int(np.argmax(wrong)),
            f"its events do not run from a first to a last time in [0, {MAX_TIME}) seconds",
        )
    return binning.num_bins(first, last)


def milliseconds(times: np.ndarray) -> np.ndarray:
    """Return seconds as whole milliseconds, int32, through microseconds: truncated in float16, else the nearest.

    A float32 does not resolve microseconds beyond 16 seconds: it stands for the latest time that is rounded to it.
    Times that are negative, NaN, or at least 2000 seconds become -1.
    """
    if times.dtype == np.float16:
        # Looked up among the 65,536 values of float16: several times faster.
        return _float16_milliseconds().take(times.view(np.uint16))
    valid = (times >= 0) & (times < MAX_TIME)
    times = np.where(valid, times, times.dtype.type(0))
    nearest = np.maximum(0.5, np.spacing(times) * 0.5e6)
    microseconds = np.floor(times.astype(np.float64) * 1e6 + nearest).astype(np.int64)
    return np.where(valid, microseconds // 1000, -1).astype(np.int32)


@functools.cache
def _float16_milliseconds() -> np.ndarray:
    times = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
    valid = (times >= 0) & (times < MAX_TIME)
    microseconds = (np.where(valid, times, 0) * 1e6).astype(np.int64)
    return np.where(valid, (microseconds * 1e-3).astype(np.int32), -1)


def _checked(binning: Binning) -> Binning:
    """Return the settings as Python integers."""
    limits = {"num_units": math.inf, "num_channels": binning.num_units, "bin_ms": MAX_TIME * 1000}
    for name, largest in limits.items():
        value: Any = getattr(binning, name)
        is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not is_number or not 1 <= value <= largest or value % 1:
            raise DataError(
                f"Binning.{name} = {value!r}: it must be a whole number"
                + {
                    "num_units": " of at least 1",
                    "num_channels": f" in 1..{binning.num_units}, the number of units",
                    "bin_ms": f" of milliseconds in 1..{largest}",
                }[name]
            )
    return Binning(*map(int, binning))


def _fields(events: Any) -> tuple[str, ...]:
    """Return the names of the fields of a structured array; none for any other array."""
    return getattr(getattr(events, "dtype", None), "names", None) or ()


def _units_of_structured(events: Any, recording: int) -> np.ndarray:
    names = _fields(events)
    if not {"t", "x"} <= set(names):
        raise EventError(
            recording, f"it is not a structured array with the fields 't' and 'x' ({names or type(events).__name__}); "
            "pass times and units separately"
        )  # fmt: skip
    for name in {"y", "p"} & set(names):
        if len(events) and np.ptp(events[name]):
            raise EventError(
                recording,
                f"its events differ in {name!r}; number the units over all fields, such as "
                "x + width * y, and pass times['t'] * 1e-6 and these units separately",
            )
    return events["x"]


def _in_seconds(times: Arrays) -> list[np.ndarray]:
    """Return seconds as floats in native byte order, one array a recording."""
    if isinstance(times, np.ndarray) and times.ndim == 1 and times.dtype != object:
        raise DataError("times must be a sequence of arrays, one a recording; for a single recording, pass [times]")
    return [_recording_in_seconds(values, number) for number, values in enumerate(times)]


def _recording_in_seconds(times: Any, recording: int) -> np.ndarray:
    if np.ma.is_masked(times):
        raise EventError(recording, "it has masked event times; remove these events (.compressed())")
    if _fields(times):
        if times["t"].dtype.kind not in "iu":
            raise EventError(recording, f"its field 't' is {times['t'].dtype}; it must be whole microseconds")
        return times["t"] * 1e-6
    times = np.asarray(times)
    if times.ndim != 1:
        raise EventError(recording, f"its event times have shape {times.shape}; they must be one array a recording")
    if times.dtype.kind == "M":
        times = times - times[:1]
    if times.dtype.kind == "m":
        return times / np.timedelta64(1, "s")
    if times.dtype.kind in "iu":
        raise EventError(
            recording,
            f"its event times are {times.dtype}, whole numbers without a unit; convert them by "
            ".astype('timedelta64[us]') (or [ms]), or to seconds as floats",
        )
    if times.dtype.kind != "f":
        raise EventError(recording, f"its event times are {times.dtype}; they must be seconds as floats")
    return times.astype(times.dtype.newbyteorder("="), copy=False)


def _lengths(times: Sequence[np.ndarray]) -> np.ndarray:
    lengths = np.array([len(values) for values in times])
    if not len(lengths):
        raise DataError("there are no recordings")
    if not lengths.all():
        raise EventError(int(np.argmin(lengths)), "it has no events")
    return lengths
