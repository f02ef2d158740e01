"""Measuring in turn: every implementation once, round by round, so that what else the machine does meets all alike."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.workers import Asked, WorkerError

SAMPLE_SECONDS = 1.0  # what is shorter is repeated within a sample
MOST_REPEATS = 1000
ONCE_SECONDS = 20.0  # what is longer is sampled once only


class Measurement:
    """Samples in seconds by implementation, the time of each one's first run, and what there is to note."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.samples: dict[str, list[float]] = {}
        self.notes: dict[str, str] = {}


def measure(
    workers: Mapping[str, Asked],
    quantity: str,
    rounds: int,
    say: Callable[[str], None] = lambda text: None,
) -> Measurement:
    """Takes `rounds` samples of a quantity of every worker, after a first run each that compiles and is not counted.

    A worker that fails gets a note in place of samples.
    """
    result = Measurement()
    repeats: dict[str, int] = {}

    def sample(name: str, count: int) -> float | None:
        try:
            return workers[name].ask("sample", quantity, count)
        except WorkerError as error:
            result.notes[name] = f"{quantity}: {error}"
            result.samples.pop(name, None)
            repeats.pop(name, None)
            return None

    for name in workers:
        say(f"{quantity}, first run, {name}")
        first = sample(name, 1)
        seconds = sample(name, 1) if first is not None else None
        if first is None or seconds is None:
            continue
        result.first[name] = first
        if seconds > ONCE_SECONDS:
            result.samples[name] = [seconds]
            result.notes[name] = f"{quantity}: takes more than {ONCE_SECONDS:g} s, sampled once only"
        else:
            result.samples[name] = []
            repeats[name] = min(max(1, round(SAMPLE_SECONDS / seconds)), MOST_REPEATS)
    for number in range(1, rounds + 1):
        for name in tuple(repeats):
            say(f"{quantity}, round {number} of {rounds}, {name}")
            seconds = sample(name, repeats[name])
            if seconds is not None:
                result.samples[name].append(seconds)
    return result


def summary(samples: list[float], reference: list[float] | None) -> dict[str, Any]:
    """Median, extremes, and how many times the reference's that is: the median over the rounds.

    Without a sample of each in every round it is the ratio of the medians.
    """
    ratio = None
    if reference:
        paired = len(samples) == len(reference)
        ratios = [one / other for one, other in zip(samples, reference, strict=True)] if paired else []
        ratio = statistics.median(ratios) if paired else statistics.median(samples) / statistics.median(reference)
    return {
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
        "to_reference": ratio,
        "samples": samples,
    }
