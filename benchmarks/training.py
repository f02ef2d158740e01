"""What training costs, next to the authors' program and to recurrent LIF layers of other libraries.

    python -m benchmarks.training [--shapes=shd_small,bsd] [--authors=DIR] [--rounds=7] [--output=FILE]

Every implementation has a process of its own (see `workers`); they are measured in turn (see `rounds`), one shape after
the other. A training step is forward, backward, clipping, Adam and boxes on one batch of random events that is on the
device; inference is from that batch to predictions. Peers are in `peers`, each used as its documentation does; their
neurons are LIF, since none has SE-adLIF, and what is not installed is left out. `--authors` is a checkout of
https://github.com/IGITUGraz/SE-adlif.

The result is a table for each shape, and a file with all samples. Times are medians over the rounds; "to ours" is how
many times ours that is, the median of the rounds' ratios. "ready" is the time from the first line of an implementation
to the end of its first training step, compilation included. "memory" is what the process held at most in training
beyond what it held before (on a GPU: what was held there at most), "compiler" what the compiler says its step needs
beyond arguments and results.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import machine
from benchmarks.rounds import Measurement, measure, summary
from benchmarks.shapes import SHAPES, Shape
from benchmarks.workers import Asked, Built, Implementation, Memory, Worker, WorkerError
from seadlif_jax.run import versions

NAMES = flags.DEFINE_list("shapes", list(SHAPES), f"What is trained: {', '.join(SHAPES)}.")
AUTHORS = flags.DEFINE_string("authors", None, "A checkout of the authors' program.")
ROUNDS = flags.DEFINE_integer("rounds", 7, "How many samples are taken of each number.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/training-cpu.json", "File for the result.")

OURS = Implementation("ours", "SE-adLIF", "ours", {"plain": False})
PLAIN = Implementation("plain scan", "SE-adLIF", "ours", {"plain": True})
PEERS = (
    Implementation("snnTorch", "LIF", "snntorch"),
    Implementation("Norse", "LIF", "norse"),
    Implementation("Spyx", "LIF", "spyx"),
)


class Report:
    """What was found out about the implementations at one shape: a row each, in the order they were started."""

    def __init__(self, shape: Shape):
        self._shape = shape
        self.rows: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []

    def built(self, implementation: Implementation, built: Built) -> None:
        self.rows[implementation.name] = {
            "implementation": implementation.name,
            "network": implementation.network,
            "device": built.device,
            "build_seconds": built.seconds,
            "compiler_mib": built.compiler_mib,
        }

    def memory(self, name: str, memory: Memory) -> None:
        self.rows[name] |= memory._asdict()

    def measured(self, quantity: str, found: Measurement) -> None:
        for name, samples in found.samples.items():
            self.rows[name][quantity] = {
                "first": found.first[name],
                **summary(samples, found.samples.get(OURS.name)),
            }
        for name, note in found.notes.items():
            self.note(name, note)

    def derive_epochs(self) -> None:
        """Of what was not run: training steps and validation. Loading of data is not in it."""
        shape = self._shape
        for row in self.rows.values():
            if "epoch" in row:
                row["epoch"]["measured"] = True
            elif "train_step" in row and "inference" in row:
                training = shape.steps_per_epoch * row["train_step"]["median"]
                validation = shape.validation_batches * row["inference"]["median"]
                row["epoch"] = {"median": training + validation, "measured": False}

    def note(self, name: str, note: str) -> None:
        self.notes.append(f"{name}: {note}")

    def as_dict(self) -> dict[str, Any]:
        shape = self._shape
        return {
            "batch": shape.batch_size,
            "steps": shape.steps,
            "channels": shape.channels,
            "neurons": shape.hidden,
            "classes": shape.num_classes,
            "labels_per_sample": shape.steps if shape.answer_from is None else 1,
            "epoch": {"train": shape.train, "validation": shape.validation},
            "rows": list(self.rows.values()),
            "notes": self.notes,
        }


def compare(
    shape: Shape, implementations: Sequence[Implementation], rounds: int, found_versions: dict[str, str], say: Any
) -> Report:
    """Starts the implementations, measures them in turn, and stops them."""
    report = Report(shape)
    workers: dict[str, Worker] = {}
    try:
        for implementation in implementations:
            say(f"starting {implementation.name}")
            worker = Worker(implementation, shape)
            try:
                built = worker.ask("build")
            except WorkerError as error:
                report.note(implementation.name, f"skipped: {error}")
                worker.close()
                continue
            workers[implementation.name] = worker
            found_versions |= built.versions
            report.built(implementation, built)
        measure_all(workers, report, rounds, say)
    finally:
        for worker in workers.values():
            worker.close()
    return report


def measure_all(workers: Mapping[str, Asked], report: Report, rounds: int, say: Any) -> None:
    """Training steps and their memory, then inference, then the epochs that are short enough."""
    found = measure(workers, "train_step", rounds, say)
    report.measured("train_step", found)
    workers = {name: worker for name, worker in workers.items() if name in found.samples}
    for name, worker in workers.items():
        report.memory(name, worker.ask("memory"))
    report.measured("inference", measure(workers, "inference", rounds, say))
    runs_epochs = {name: worker for name, worker in workers.items() if worker.ask("has", "epoch")}
    report.measured("epoch", measure(runs_epochs, "epoch", rounds, say))
    report.derive_epochs()


HEADER = (
    ("implementation", "network", "train step, ms", "to ours", "inference, ms", "to ours")
    + ("epoch, s", "ready, s", "memory, MiB", "compiler, MiB")
)  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line an implementation, with the extremes of the rounds in brackets; `~` marks what is derived."""

    def times(row, quantity):
        if quantity not in row:
            return "-", "-"
        milliseconds = {name: 1e3 * row[quantity][name] for name in ("median", "min", "max")}
        ratio = row[quantity]["to_reference"]
        text = "{median:.4g} ({min:.4g}-{max:.4g})".format(**milliseconds)
        return text, "-" if ratio is None else f"{ratio:.2f}"

    def number(value, text="{:.0f}"):
        return "-" if value is None else text.format(value)

    cells = [HEADER]
    for row in rows:
        epoch = row.get("epoch", {"median": None, "measured": True})
        ready = row["build_seconds"] + row["train_step"]["first"] if "train_step" in row else None
        device_peak = row.get("device_peak_mib")
        cells.append(
            (
                row["implementation"],
                row["network"],
                *times(row, "train_step"),
                *times(row, "inference"),
                ("" if epoch["measured"] else "~") + number(epoch["median"], "{:.3g}"),
                number(ready, "{:.1f}"),
                number(row.get("growth_mib") if device_peak is None else device_peak),
                number(row["compiler_mib"]),
            )
        )
    return align(cells)


def align(cells: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need; names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        columns = [
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(columns).rstrip())
    return "\n".join(lines)


def progress(shape_name: str) -> Any:
    """Writes what is under way to a line of its own on a terminal; elsewhere nothing."""

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{shape_name}: {text}".ljust(79) + "\r", end="", file=sys.stderr, flush=True)

    return say


def main(_: Sequence[str]) -> None:
    unknown = [name for name in NAMES.value if name not in SHAPES]
    if unknown:
        sys.exit(f"error: --shapes: {unknown[0]!r} is none of {', '.join(SHAPES)}")
    implementations = [OURS, PLAIN]
    if AUTHORS.value is None:
        print("the authors' program is left out; --authors=DIR names a checkout of it")
    else:
        checkout = str(Path(AUTHORS.value).expanduser().resolve())
        implementations.append(Implementation("authors", "SE-adLIF", "authors", {"checkout": checkout}))
    implementations += PEERS

    result: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": versions(),
        "rounds": ROUNDS.value,
        "shapes": {},
    }
    output = Path(OUTPUT.value)
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in NAMES.value:
        before = machine.load()
        report = compare(SHAPES[name], implementations, ROUNDS.value, result["versions"], progress(name))
        loads = {"load_before": before, "load_after": machine.load()}
        result["shapes"][name] = {**report.as_dict(), **loads}
        progress(name)("done")
        print(f"\n{name}: {SHAPES[name]} (load {before:.1f} before, {loads['load_after']:.1f} after)\n")
        print("\n".join([table(list(report.rows.values())), "", *report.notes]), flush=True)
        output.write_text(json.dumps(result, indent=2) + "\n")  # after every shape: they take long
    print(f"\nall samples: {output}")


if __name__ == "__main__":
    app.run(main)
