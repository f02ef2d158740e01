"""What training costs, next to the authors' program and to recurrent LIF layers of other libraries.

    python -m benchmarks.training [--shapes=shd_small,bsd] [--authors=DIR] [--parts] [--leave_out=Norse] [--rounds=7]
                                  [--output=FILE]

Every implementation has a process of its own (`workers`); they are measured in turn (`rounds`), shape by shape
(`shapes`). A training step is forward, backward, clipping, Adam and boxes on one batch of random events that is on the
device; inference is from that batch to predictions. The implementations are in `peers`, each used as its documentation
does. The libraries' neurons are LIF, since none has SE-adLIF, and have no dropout; "ours, LIF" is the same of ours. A
library that is not installed is left out (`pip install snntorch norse spyx`). `--authors` is a checkout of
https://github.com/IGITUGraz/SE-adlif (with `pip install torch pytorch-lightning torchmetrics omegaconf`). `--parts`
adds what our gradient gives without a device for each core of a CPU, and the other way round. `--leave_out` names those
that are not to be measured: all are in memory at the same time.

A table is printed for each shape, and all samples are left in the file. Times are medians over the rounds, with the
extremes in brackets; "to ours" is how many times ours of the same network that is, the median of the rounds' ratios.
"epoch" is that of the task, without the loading of data; `~` is derived from training steps and inference. "ready" is
the time until the first training step is done, compilation included and imports not. "memory" is what the process held
at most in training beyond what it held before (on a GPU, what was held there at most); "compiler" is what the compiler
says its training step needs beyond arguments and results, on one of the devices.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import machine, peers
from benchmarks.progress import progress
from benchmarks.report import Report, save
from benchmarks.rounds import Asked, measure
from benchmarks.shapes import SHAPES, refuse_unknown
from benchmarks.workers import Built, Say, started
from seadlif_jax.runs.files import versions

NAMES = flags.DEFINE_list("shapes", list(SHAPES), f"What is trained: {', '.join(SHAPES)}.")
AUTHORS = flags.DEFINE_string("authors", None, "A checkout of the authors' program.")
PARTS = flags.DEFINE_bool("parts", False, "Also our gradient and a device for each core, each without the other.")
LEAVE_OUT = flags.DEFINE_list("leave_out", [], "Implementations that are not measured, by the names in the table.")
ROUNDS = flags.DEFINE_integer("rounds", 7, "How many samples are taken of each number.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/training-cpu.json", "File for the result.")


def measure_all(
    workers: Mapping[str, Asked], built: Mapping[str, Built], rounds: int, report: Report, say: Say
) -> None:
    """Training steps and their memory, then inference, then the epochs that are short enough to be run."""
    for quantity in ("train_step", "inference", "epoch"):
        if quantity == "epoch":
            workers = {name: worker for name, worker in workers.items() if built[name].has_epoch}
        found = measure(workers, quantity, rounds, say)
        report.add_measured(quantity, found)
        workers = {name: workers[name] for name in found.samples}  # the others failed
        if quantity == "train_step":
            for name, worker in workers.items():
                report.add_memory(name, worker.ask("memory"))
    report.derive_epochs()


def main(_: Sequence[str]) -> None:
    refuse_unknown(NAMES.value)
    parts = peers.PARTS if PARTS.value else ()
    implementations = [peers.OURS, peers.PLAIN, *parts, peers.OURS_LIF, *peers.LIBRARIES]
    if AUTHORS.value is None:
        print("the authors' program is left out: --authors=DIR names a checkout of it")
    else:
        implementations.insert(2, peers.authors(str(Path(AUTHORS.value).expanduser().resolve())))

    implementations = [each for each in implementations if each.name not in LEAVE_OUT.value]

    result: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": versions(),
        "rounds": ROUNDS.value,
        "shapes": {},
    }
    for name in NAMES.value:
        report, before = Report(SHAPES[name]), machine.load()

        def say(text, name=name):
            progress(f"{name}: {text}")

        with started(implementations, SHAPES[name], say) as (workers, built, failed):
            for implementation in implementations:
                if implementation.name in built:
                    report.add_built(implementation, built[implementation.name])
                    result["versions"] |= built[implementation.name].versions
                else:
                    report.add_note(implementation.name, f"left out: {failed[implementation.name]}")
            measure_all(workers, built, ROUNDS.value, report, say)
        after = machine.load()
        progress("")
        print(f"\n{name}: {SHAPES[name]} (load {before:.1f} before, {after:.1f} after)\n\n{report}", flush=True)
        result["shapes"][name] = {"load_before": before, "load_after": after, **report.as_dict()}
        save(result, OUTPUT.value)  # after every shape: they take long
    print(f"\nall samples: {OUTPUT.value}")


if __name__ == "__main__":
    app.run(main)
