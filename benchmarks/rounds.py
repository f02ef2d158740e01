"""Measuring in turn: every implementation once, round by round, so that what else the machine does meets all alike."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from benchmarks.workers import Say, WorkerError

SAMPLE_SECONDS = 1.0  # what is shorter is repeated within a sample
MOST_REPEATS = 1000
ONCE_SECONDS = 20.0  # what is longer is sampled once only


class Asked(Protocol):
    """A worker, or what answers like one."""

    def ask(self, method: str, *arguments: Any) -> Any: ...


class Measurement(NamedTuple):
    """Seconds of each one's first run, samples in seconds, and what there is to note; each by the worker's name."""

    first: dict[str, float]
    samples: dict[str, list[float]]
    notes: dict[str, str]


def measure(workers: Mapping[str, Asked], quantity: str, rounds: int, say: Say) -> Measurement:
    """Takes `rounds` samples of a quantity of every worker, in turn, after a first run each that is not counted.

    A worker that fails has a note in place of samples.
    """
    result = Measurement({}, {}, {})
    repeats: dict[str, int] = {}
    for name, worker in workers.items():
        say(f"{quantity}, first run, {name}")
        try:
            result.first[name] = worker.ask("sample", quantity, 1)
            seconds = worker.ask("sample", quantity, 1)
        except WorkerError as error:
            result.notes[name] = f"{quantity}: {error}"
            continue
        if seconds > ONCE_SECONDS:
            result.samples[name] = [seconds]
            result.notes[name] = f"{quantity}: takes more than {ONCE_SECONDS:g} s, sampled once only"
        else:
            result.samples[name] = []
            repeats[name] = min(max(1, round(SAMPLE_SECONDS / seconds)), MOST_REPEATS)

    for number in range(1, rounds + 1):
        for name in tuple(repeats):
            say(f"{quantity}, round {number} of {rounds}, {name}")
            try:
                result.samples[name].append(workers[name].ask("sample", quantity, repeats[name]))
            except WorkerError as error:
                result.notes[name] = f"{quantity}: {error}"
                del result.samples[name], repeats[name]
    return result


def summary(samples: Sequence[float], ours: Sequence[float] | None) -> dict[str, Any]:
    """Median, extremes, and how many times ours that is: the median of the ratios of the rounds.

    What was not sampled in every round is compared by the medians.
    """
    to_ours = None
    if ours and len(samples) == len(ours):
        to_ours = statistics.median(one / other for one, other in zip(samples, ours, strict=True))
    elif ours:
        to_ours = statistics.median(samples) / statistics.median(ours)
    return {
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
        "to_ours": to_ours,
        "samples": list(samples),
    }
