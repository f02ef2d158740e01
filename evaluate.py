"""Tests the network of a finished run: class by class, what it costs to run, and under shifts of its input.

    python evaluate.py --workdir=DIR [--split=test] [--output_dir=DIR] [--config.data.dir=DIR]

Leaves in the run's folder, or `--output_dir`, named after the split,

    test_classes.csv                          targets, recall, precision and F1 of every class
    test_confusion.csv, test_confusion.png    what is taken for what
    test_costs.csv                            footprint, sparsity and synaptic operations of every layer

and of a network that forecasts, in place of the first two lines,

    test_forecast.png                                   the forecast of the first sample
    test_forecast_error.csv, test_forecast_error.png    its error in the course of all samples

    python evaluate.py --workdir=DIR --shifts=0.02,0.05,0.1,0.2,0.4 [--draws=3]

also tests it, on the test split, with events that were not there in training, and leaves robustness.csv and
robustness.png. A shift is given as the mean number of events it adds to every channel at every step; 0, the run's own
test, is always there.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from seadlif_jax import plots
from seadlif_jax.analysis import robustness
from seadlif_jax.analysis.synops import format_costs, measure_costs
from seadlif_jax.cli import common as command_line
from seadlif_jax.cli.common import (
    define_moved,
    define_output_dir,
    errors_in_one_line,
    lines,
    parse_flags,
    prepare_jax,
    protect_output,
)
from seadlif_jax.data.loading import SPLITS, Split
from seadlif_jax.data.samples import Samples
from seadlif_jax.inference import TrainedModel, evaluate, open_run
from seadlif_jax.losses import feedback_start
from seadlif_jax.runs.files import write_table
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.training import report as results
from seadlif_jax.utils.paths import workdir_path
from seadlif_jax.utils.tables import as_columns

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "What to evaluate on.")
SHIFTS = flags.DEFINE_list("shifts", None, "Mean added events per channel and step, such as 0.02,0.1,0.4.")
DRAWS = flags.DEFINE_integer("draws", 3, "How often random shifts are drawn.")
moved, output_dir = define_moved(), define_output_dir()
flags.adopt_module_key_flags(command_line)  # for --help


def check_flags() -> None:
    if WORKDIR.value is None:
        sys.exit("error: --workdir is missing; give the folder of a finished run of train.py")
    levels()


def levels() -> list[float]:
    if SHIFTS.value is None:
        return []
    try:
        if not SHIFTS.value:
            raise ValueError
        return [float(text) for text in SHIFTS.value]
    except ValueError:
        sys.exit(f"error: --shifts={','.join(SHIFTS.value)}: it must be numbers joined by commas, such as 0,0.05,0.1")


def test_classes(trained: TrainedModel, split: Split, stem: str) -> None:
    """Class by class; the tables and the picture are left at paths that begin with `stem`."""
    found = evaluate(trained, split)
    by_class = found.by_class()
    print("\n".join(lines(by_class)))
    print(f"{SPLIT.value} accuracy {found.accuracy:.4f}  loss {found.loss:.4f}", flush=True)
    write_table(Path(f"{stem}_classes.csv"), by_class)
    predicted = {f"predicted_{number}": column for number, column in enumerate(found.confusion.T)}
    write_table(Path(f"{stem}_confusion.csv"), {"true": np.arange(len(found.confusion)), **predicted})
    title = f"{SPLIT.value}: {100 * found.accuracy:.2f} % of the targets right"
    plots.save_confusion(found.confusion, title, Path(f"{stem}_confusion.png"))


def test_forecast(trained: TrainedModel, split: Split, stem: str) -> None:
    samples, outputs = Samples.of(split), trained.outputs(split.inputs)
    errors = results.save_forecast(samples, outputs, trained.config.data.step_ms, Path(f"{stem}_forecast"))
    print(f"{SPLIT.value} mse {errors.second_half:.4f}  (second half, from the network's own output)", flush=True)


def test_costs(trained: TrainedModel, split: Split, stem: str) -> None:
    steps = split.inputs.shape[1]
    feedback_from = feedback_start(steps) if trained.forecasts else None
    costs = measure_costs(trained.network, trained.variables, split.inputs, feedback_from, trained.config.batch_size)
    print(f"\ncosts of a sample of {steps} steps\n{format_costs(costs)}", flush=True)
    write_table(Path(f"{stem}_costs.csv"), as_columns(costs))


def test_under_shifts(trained: TrainedModel, test: Split, protocol: str, folder: Path) -> None:
    rows = robustness.measure_robustness(trained, test, protocol, levels(), DRAWS.value)
    shown = {
        "shift": [row.shift for row in rows],
        "level": [f"{row.level:g}" for row in rows],
        "draws": [row.draws for row in rows],
        "accuracy (%)": [percent(row) for row in rows],
        "loss": [f"{row.loss:.4f}" for row in rows],
    }
    print("\n" + "\n".join(lines(shown)))
    print(f"({rows[0].protocol})", flush=True)
    write_table(folder / "robustness.csv", as_columns(rows))
    plots.save_robustness(rows, folder / "robustness.png")


def percent(row: robustness.ShiftScore) -> str:
    std = "" if row.accuracy_std is None else f" +- {100 * row.accuracy_std:.2f}"
    return f"{100 * row.accuracy:.2f}{std}"


def main(_: Sequence[str]) -> None:
    prepare_jax()
    with errors_in_one_line("what was not finished was not written"):
        folder = workdir_path(WORKDIR.value)
        robustness.check_levels(levels(), DRAWS.value)
        trained, dataset = open_run(folder, moved())
        output = output_dir(folder)
        if levels():
            robustness.require_classifier(trained)
        run = RunFolder(folder, trained.config)
        if origin := run.origin():
            print(f"(imported from {origin['file']}, epoch {origin['epoch']})", flush=True)
        elif run.result() is None:
            print("(this run is not finished: its best epoch so far)", flush=True)
        split, stem = getattr(dataset, SPLIT.value), str(output / SPLIT.value)
        test = test_forecast if trained.forecasts else test_classes
        test(trained, split, stem)
        test_costs(trained, split, stem)
        if levels():
            test_under_shifts(trained, dataset.test, dataset.protocol, output)
    print(f"tables and pictures: {stem}_*{f', {output}/robustness.*' if levels() else ''}")


if __name__ == "__main__":
    protect_output()
    app.run(main, flags_parser=functools.partial(parse_flags, check=check_flags))
