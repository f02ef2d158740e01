"""Measurement in rounds: every implementation once per round, so that other load on the machine affects all equally."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from benchmarks.workers import Say, WorkerError

SAMPLE_SECONDS = 1.0  # shorter work is repeated within a sample
MAX_REPEATS = 1000
ONCE_SECONDS = 20.0  # longer work is sampled only once


class Samplable(Protocol):
    """A worker, or an object that answers like one."""

    def ask(self, method: str, *arguments: Any) -> Any: ...


class Measurement(NamedTuple):
    """Seconds of the first run, samples in seconds, and notes; each by the name of the worker."""

    first: dict[str, float]
    samples: dict[str, list[float]]
    notes: dict[str, str]


def measure(workers: Mapping[str, Samplable], quantity: str, rounds: int, say: Say) -> Measurement:
    """Return `rounds` samples of a quantity for every worker, taken in turn, after one uncounted first run each.

    A worker that fails has a note instead of samples.
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
            result.notes[name] = f"{quantity}: takes more than {ONCE_SECONDS:g} s, sampled only once"
        else:
            result.samples[name] = []
            repeats[name] = min(max(1, round(SAMPLE_SECONDS / seconds)), MAX_REPEATS)

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
    """Return median, extremes, and the ratio to ours: the median over the rounds of the ratios.

    If the numbers of samples differ, the ratio is that of the medians.
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
