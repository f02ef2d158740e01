"""Test the network of a run: class by class, its costs, and under shifts of its input.

    seadlif evaluate --workdir=DIR [--split=test] [--output_dir=DIR] [--config.data.dir=DIR]

leaves in the run's folder, or --output_dir, named after the split,

    test_classes.csv                          targets, recall, precision and F1 of every class
    test_confusion.csv, test_confusion.png    confusion matrix
    test_costs.csv                            footprint, sparsity and synaptic operations of every layer
    test_parts.csv                            accuracy of each part of the targets that the loader defines, if any

For a network that forecasts, the first two lines are replaced by

    test_forecast.png                                   forecast of the first sample
    test_forecast_error.csv, test_forecast_error.png    error over time, of all samples

    seadlif evaluate --workdir=DIR --shifts=0.02,0.05,0.1,0.2,0.4 [--draws=3]

also tests the network, on the test split, with events that were absent in training, and leaves robustness.csv and
robustness.png. A shift is the mean number of events that it adds to every channel at every step; 0, the unshifted test,
is always included.

    seadlif evaluate --workdir=DIR --quantize=int8

also tests the network in the fixed point of `seadlif export --dtype=int8`, and leaves test_int8_classes.csv and the
confusion matrix.

For a network that compresses sound, there is no table of classes and no confusion matrix, but test_recordings.csv with
the quality and bit rate of every recording, and test_quality.csv with the means; and

    seadlif evaluate --workdir=DIR --save_audio

also leaves ten of the recordings, and what is restored of them, in test_audio/*.wav.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seadlif_jax import plots
from seadlif_jax.analysis import robustness
from seadlif_jax.cli.environment import prepare_jax
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.parsers import Parser, add_run, moved_data, output_folder
from seadlif_jax.data.dataset import Split
from seadlif_jax.device import DeviceError, device_layers, quantize
from seadlif_jax.inference import TrainedModel, open_run
from seadlif_jax.reports.evaluation import report_classes, report_costs, report_evaluation, save_audio
from seadlif_jax.runs.files import write_table
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.utils.paths import workdir_path
from seadlif_jax.utils.tables import as_columns, table_lines


def main(arguments: Sequence[str]) -> None:
    """Run `seadlif evaluate`."""
    options = _parse(arguments)
    prepare_jax()
    with errors_in_one_line("files that were not finished were not written"):
        workdir = workdir_path(options.workdir)
        robustness.check_levels(options.shifts, options.draws)
        trained, dataset = open_run(workdir, moved_data(options))
        output = output_folder(options.output_dir, workdir)
        if options.shifts:
            robustness.require_classifier(trained)
        if options.quantize and not trained.classifies:
            raise DeviceError("--quantize is for classification; this network was trained for another task")
        fixed_point = quantize(device_layers(trained.network, trained.variables)) if options.quantize else None
        run = RunFolder(workdir, trained.config)
        if origin := run.origin():
            print(f"(imported from {origin['file']}, epoch {origin['epoch']})", flush=True)
        elif run.result() is None:
            print("(this run is not finished: the best epoch so far)", flush=True)
        split, stem = getattr(dataset, options.split), str(output / options.split)
        if options.save_audio:  # first, since not every task has sound
            save_audio(trained.task, trained, options.split, stem)
        report_evaluation(trained.task, trained, split, options.split, stem)
        report_costs(trained, split, stem)
        if fixed_point is not None:
            print("\nin fixed point, with weights of 8 bits")
            report_classes(trained, split, f"{options.split} int8", f"{stem}_int8", fixed_point)
        if options.shifts:
            _report_shifts(trained, dataset.test, dataset.protocol, options, output)
    print(f"tables and pictures: {stem}_*{f', {output}/robustness.*' if options.shifts else ''}")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("evaluate", __doc__)
    add_run(parser)
    parser.add_argument(
        "--shifts", type=_numbers, default=[], help="mean added events per channel and step, such as 0.02,0.1,0.4"
    )
    parser.add_argument("--draws", type=int, default=3, help="number of draws of each random shift (default: 3)")
    parser.add_argument("--quantize", choices=("int8",), help="also test the network in fixed point")
    parser.add_argument("--save_audio", action="store_true", help="also leave restored recordings to listen to")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers joined by commas, such as 0,0.05,0.1") from error


def _report_shifts(
    trained: TrainedModel, test: Split, protocol: str, options: argparse.Namespace, folder: Path
) -> None:
    """Print and save the accuracy under every shift of the input."""
    rows = robustness.measure_robustness(trained, test, protocol, options.shifts, options.draws)
    table: dict[str, list[Any]] = {
        "shift": [row.shift for row in rows],
        "level": [f"{row.level:g}" for row in rows],
        "draws": [row.draws for row in rows],
        "accuracy (%)": [_percent(row) for row in rows],
        "loss": [f"{row.loss:.4f}" for row in rows],
    }
    print("\n" + "\n".join(table_lines(table)))
    print(f"({rows[0].protocol})", flush=True)
    write_table(folder / "robustness.csv", as_columns(rows))
    plots.save_robustness(rows, folder / "robustness.png")


def _percent(row: robustness.ShiftScore) -> str:
    std = "" if row.accuracy_std is None else f" +- {100 * row.accuracy_std:.2f}"
    return f"{100 * row.accuracy:.2f}{std}"
