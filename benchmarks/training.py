"""Time and memory of training, compared with the authors' program and with recurrent LIF layers of other libraries.

    python -m benchmarks.training [--shapes=shd_small,bsd] [--authors=DIR] [--parts] [--leave_out=Norse] [--rounds=7]
                                  [--output=FILE]

Every implementation has a separate process (`workers`). They are measured in turn (`rounds`), shape by shape
(`shapes`). A training step is forward, backward, clipping, Adam and projection, on one batch of random events on the
device, while 10 % of our neurons spike in a step; inference is from the same batch to predictions. The implementations
are in `peers`, each used as in its documentation. The neurons of the libraries are LIF without dropout, since none has
SE-adLIF; "ours, LIF" is our network of the same kind. A library that is not installed is left out (`pip install
snntorch norse spyx sparxml`, which needs Python 3.12). `--authors` is a checkout of
https://github.com/IGITUGraz/SE-adlif (with `pip install torch pytorch-lightning torchmetrics omegaconf`). `--parts`
also measures our gradient and one device per core, each without the other. `--leave_out` names implementations to leave
out, because all are in memory at the same time.

Prints a table for each shape, and writes all samples to the file. Times are medians over the rounds, with the extremes
in parentheses. "to ours" is the median over the rounds of the ratio to ours of the same network. "epoch" is an epoch of
the task without data loading; `~` is derived from training steps and inference. "ready" is the time until the end of
the first training step, with compilation and without imports. "memory" is the peak of the process in training beyond
its memory before (on a GPU, the peak there). "compiler" is the memory that the training step needs beyond arguments and
results on one of the devices, reported by the compiler.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import machine, peers
from benchmarks.progress import progress
from benchmarks.report import Report, save
from benchmarks.rounds import Samplable, measure
from benchmarks.shapes import SHAPES, refuse_unknown
from benchmarks.workers import Built, Say, started
from seadlif_jax.runs.files import versions

NAMES = flags.DEFINE_list("shapes", list(SHAPES), f"Sizes to train: {', '.join(SHAPES)}.")
AUTHORS = flags.DEFINE_string("authors", None, "Checkout of the authors' program.")
PARTS = flags.DEFINE_bool("parts", False, "Also measure our gradient and one device per core, each without the other.")
LEAVE_OUT = flags.DEFINE_list("leave_out", [], "Implementations to leave out, by their names in the table.")
ROUNDS = flags.DEFINE_integer("rounds", 7, "Number of samples of each time.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/training-cpu.json", "File for the result.")


def measure_all(
    workers: Mapping[str, Samplable], built: Mapping[str, Built], rounds: int, report: Report, say: Say
) -> None:
    """Measure training steps and their memory, then inference, then the epochs that are short enough."""
    for quantity in ("train_step", "inference", "epoch"):
        if quantity == "epoch":
            workers = {name: worker for name, worker in workers.items() if built[name].has_epoch}
        measurement = measure(workers, quantity, rounds, say)
        report.add_measured(quantity, measurement)
        workers = {name: workers[name] for name in measurement.samples}  # the others failed
        if quantity == "train_step":
            for name, worker in workers.items():
                report.add_memory(name, worker.ask("memory"))
    report.derive_epochs()


def main(_: Sequence[str]) -> None:
    refuse_unknown(NAMES.value)
    parts = peers.PARTS if PARTS.value else ()
    implementations = [
        peers.OURS,
        peers.OURS_XLA,
        peers.PLAIN,
        *parts,
        peers.OURS_LIF,
        peers.OURS_LIF_XLA,
        *peers.LIBRARIES,
    ]
    if AUTHORS.value is None:
        print("the authors' program is left out: --authors=DIR names a checkout of it")
    else:
        implementations.insert(3, peers.authors(str(Path(AUTHORS.value).expanduser().resolve())))

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
