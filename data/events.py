"""Binning of recorded events to frames: how many events each channel had in each time window.

The result is that of `tonic.transforms.Downsample(time_factor=1e-3, target_size=(num_channels, 1), ...)` and then
`tonic.transforms.ToFrame(time_window=bin_ms)`, bit for bit, for all events of many recordings at once:

- event times are truncated to whole microseconds, then to whole milliseconds;
- neighbouring units are merged to channels, `channel = floor(unit * num_channels / num_units)`;
- bins of `bin_ms` start at a recording's first event; the last, partial one is dropped (a recording shorter than a bin
  still has one);
- a bin holds the number of events, not just zero or one.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.dataset import DataError

LARGEST_COUNT = int(np.iinfo(np.uint8).max)
LONGEST_SECONDS = 2000  # in microseconds, this fits 32 bits


class EventError(DataError):
    """Events of a recording, given by its index, that cannot be binned."""

    def __init__(self, recording: int, reason: str):
        super().__init__(f"recording {recording}: {reason}")
        self.recording = recording
        self.reason = reason


class Binning(NamedTuple):
    """How many units are merged to how many channels, and the width of a bin in whole milliseconds."""

    num_units: int
    num_channels: int
    bin_ms: int

    def num_bins(self, first_ms: np.ndarray, last_ms: np.ndarray) -> np.ndarray:
        """The numbers of whole bins between the first and the last event of recordings; at least one."""
        return np.maximum((last_ms - first_ms) // self.bin_ms, 1)


def bin_events(
    times: Sequence[np.ndarray], units: Sequence[np.ndarray], binning: Binning, num_steps: int
) -> np.ndarray:
    """Counts the events of some recordings, all in one pass: uint8 `[recording, num_steps, channel]`.

    Args:
      times: for each recording the times of its events in seconds, in order.
      units: for each recording the units that fired then.
      binning: the settings.
      num_steps: at least the number of bins of every recording; the bins after a recording's last are zero.

    Raises:
      EventError: a recording has no events, a time or unit out of range, events out of order, more bins than
        `num_steps`, or more than 255 events in a bin.
    """
    lengths = _lengths(times)
    if not np.array_equal(lengths, [len(of_recording) for of_recording in units]):
        raise EventError(0, "it, or one after it, has not as many units as event times")
    starts = np.cumsum(lengths) - lengths

    def refuse(event: Any, reason: str) -> EventError:
        return EventError(int(np.searchsorted(starts, event, side="right")) - 1, reason)

    ms, unit = milliseconds(np.concatenate(times)), np.concatenate(units)
    if ms.min() < 0:
        raise refuse(np.argmin(ms), f"an event time is not in [0, {LONGEST_SECONDS}) seconds")
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
    # The place of every event in the flattened result, in few and cheap passes over the events: in 32 bits if they do,
    # and with `take`, which is faster than an index. There is one step more a recording, for its last, partial bin.
    shape = (len(lengths), num_steps + 1, binning.num_channels)
    fits = math.prod(shape) * binning.bin_ms < np.iinfo(np.int32).max
    offset = shape[1] * binning.bin_ms * np.arange(len(lengths)) - first
    place = np.repeat(offset.astype(np.int32 if fits else np.int64), lengths)
    place += ms
    place //= binning.bin_ms
    place *= binning.num_channels
    channel = (np.arange(binning.num_units) * (binning.num_channels / binning.num_units)).astype(place.dtype)
    place += channel.take(unit)
    # In a type that cannot overflow: a bin holds no more than all events.
    counts = np.zeros(math.prod(shape), np.min_scalar_type(lengths.max()))
    np.add.at(counts, place, counts.dtype.type(1))
    counts = counts.reshape(shape)
    counts[np.arange(len(lengths)), bins] = 0
    counts = counts[:, :num_steps]
    if counts.max() > LARGEST_COUNT:
        raise EventError(
            int(np.argmax(counts.max(axis=(1, 2)))),
            f"a channel has {counts.max()} events in a bin of {binning.bin_ms} ms, more than the {LARGEST_COUNT} that "
            "fit; choose a smaller bin",
        )
    return counts.astype(np.uint8)


def count_bins(times: Sequence[np.ndarray], binning: Binning) -> np.ndarray:
    """The number of bins of each recording, from the times of its events.

    Raises:
      EventError: a recording has no events, or begins or ends at a time out of range.
    """
    _lengths(times)
    first, last = (milliseconds(np.array([of_recording[i] for of_recording in times])) for i in (0, -1))
    wrong = (first < 0) | (last < first)
    if wrong.any():
        raise EventError(
            int(np.argmax(wrong)),
            f"its events do not run from a first to a last time in [0, {LONGEST_SECONDS}) seconds",
        )
    return binning.num_bins(first, last)


def milliseconds(times: np.ndarray) -> np.ndarray:
    """Seconds to whole milliseconds, int32, by way of whole microseconds: rounding otherwise moves events by a bin.

    A time that is negative, NaN, or 2000 seconds and more gives -1.
    """
    if times.dtype == np.float16:
        # The 65,536 values there are, looked up: several times faster.
        return _of_every_half().take(times.view(np.uint16))
    valid = (times >= 0) & (times < LONGEST_SECONDS)
    microseconds = (np.where(valid, times, 0).astype(np.float64) * 1e6).astype(np.int64)
    return np.where(valid, (microseconds * 1e-3).astype(np.int32), -1)


@functools.cache
def _of_every_half() -> np.ndarray:
    return milliseconds(np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64))


def _lengths(times: Sequence[np.ndarray]) -> np.ndarray:
    lengths = np.array([len(of_recording) for of_recording in times])
    if not len(lengths):
        raise DataError("there are no recordings")
    if not lengths.all():
        raise EventError(int(np.argmin(lengths)), "it has no events")
    return lengths
