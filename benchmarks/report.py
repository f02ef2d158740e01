"""The measurements of all implementations at one size, as rows for a file and as a printed table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import OURS, OURS_LIF
from benchmarks.rounds import Measurement, summary
from benchmarks.shapes import Shape
from benchmarks.workers import Built, Implementation, Memory

# The implementation of ours that the others are compared with, by network.
REFERENCES = {each.network: each.name for each in (OURS, OURS_LIF)}
HEADER = (
    "implementation",
    "network",
    "train step, ms",
    "to ours",
    "inference, ms",
    "to ours",
    "epoch, s",
    "ready, s",
    "memory, MiB",
    "compiler, MiB",
)


class Report:
    """One row per implementation, and notes."""

    def __init__(self, shape: Shape):
        self._shape = shape
        self._rows: dict[str, dict[str, Any]] = {}
        self._notes: list[str] = []

    def add_built(self, implementation: Implementation, built: Built) -> None:
        self._rows[implementation.name] = {
            "implementation": implementation.name,
            "network": implementation.network,
            "device": built.device,
            "build_seconds": built.seconds,
            "compiler_mib": built.compiler_mib,
        }

    def add_memory(self, name: str, memory: Memory) -> None:
        self._rows[name] |= memory._asdict()

    def add_measured(self, quantity: str, measurement: Measurement) -> None:
        for name, samples in measurement.samples.items():
            ours = measurement.samples.get(REFERENCES[self._rows[name]["network"]])
            self._rows[name][quantity] = {"first": measurement.first[name], **summary(samples, ours)}
        for name, note in measurement.notes.items():
            self.add_note(name, note)

    def add_note(self, name: str, note: str) -> None:
        self._notes.append(f"{name}: {note}")

    def derive_epochs(self) -> None:
        """Estimate epochs that were not run: training steps and validation, without data loading."""
        for row in self._rows.values():
            if "epoch" in row:
                row["epoch"]["measured"] = True
            elif "train_step" in row and "inference" in row:
                training = self._shape.steps_per_epoch * row["train_step"]["median"]
                validation = self._shape.validation_batches * row["inference"]["median"]
                row["epoch"] = {"median": training + validation, "measured": False}

    def as_dict(self) -> dict[str, Any]:
        """Return the sizes, the rows and the notes."""
        return {**self._shape.as_dict(), "rows": list(self._rows.values()), "notes": self._notes}

    def __str__(self) -> str:
        """Return table and notes; extremes of the rounds are in parentheses, derived values have a `~`."""
        return "\n".join([align([HEADER, *map(_cells, self._rows.values())]), "", *self._notes])


def align(lines: Sequence[Sequence[str]]) -> str:
    """Return lines as aligned columns: the first two to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def pad(line: Sequence[str]) -> str:
        left, right = line[:2], line[2:]
        cells = [cell.ljust(width) for cell, width in zip(left, widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(right, widths[2:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join(map(pad, lines))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    epoch = row.get("epoch", {"median": None, "measured": True})
    ready = row["build_seconds"] + row["train_step"]["first"] if "train_step" in row else None
    peak = row.get("device_peak_mib")
    return (
        row["implementation"],
        row["network"],
        *_times(row.get("train_step")),
        *_times(row.get("inference")),
        ("" if epoch["measured"] else "~") + _number(epoch["median"], ".3g"),
        _number(ready, ".1f"),
        _number(row.get("growth_mib") if peak is None else peak, ".0f"),
        _number(row["compiler_mib"], ".0f"),
    )


def _times(times: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return milliseconds, and the ratio to ours, as text."""
    if times is None:
        return "-", "-"
    median, low, high = (_number(1e3 * times[name], ".4g") for name in ("median", "min", "max"))
    return f"{median} ({low}-{high})", _number(times["to_ours"], ".2f")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def save(result: Mapping[str, Any], path: str) -> None:
    """Write a result as JSON; create the folder if it is missing."""
    output = Path(path)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
