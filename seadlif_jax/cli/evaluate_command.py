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
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from seadlif_jax import plots
from seadlif_jax.analysis import robustness
from seadlif_jax.analysis.synops import format_costs, measure_costs
from seadlif_jax.cli.environment import prepare_jax
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.parsers import Parser, add_run, moved_data, output_folder
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.loader import find_loader
from seadlif_jax.data.loading import DatasetError
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.device import DeviceError, FixedPointNetwork, device_layers, quantize
from seadlif_jax.inference import TrainedModel, evaluate, open_run
from seadlif_jax.losses import IGNORED, feedback_start
from seadlif_jax.runs.files import write_table
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.training.report import draw_forecast
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
        if options.quantize and trained.forecasts:
            raise DeviceError("--quantize is for classification; this network forecasts")
        fixed_point = quantize(device_layers(trained.network, trained.variables)) if options.quantize else None
        run = RunFolder(workdir, trained.config)
        if origin := run.origin():
            print(f"(imported from {origin['file']}, epoch {origin['epoch']})", flush=True)
        elif run.result() is None:
            print("(this run is not finished: the best epoch so far)", flush=True)
        split, stem = getattr(dataset, options.split), str(output / options.split)
        report = _report_forecast if trained.forecasts else _report_classes
        report(trained, split, options.split, stem)
        if not trained.forecasts:
            _report_parts(trained, split, find_loader(trained.config.data).parts(trained.config, options.split), stem)
        _report_costs(trained, split, stem)
        if fixed_point is not None:
            print("\nin fixed point, with weights of 8 bits")
            _report_classes(trained, split, f"{options.split} int8", f"{stem}_int8", fixed_point)
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
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers joined by commas, such as 0,0.05,0.1") from error


def _report_classes(
    trained: TrainedModel, split: Split, name: str, stem: str, fixed_point: FixedPointNetwork | None = None
) -> None:
    """Print and save the metrics of every class, and the confusion matrix."""
    evaluation = evaluate(trained, split, fixed_point=fixed_point)
    by_class = evaluation.by_class()
    print("\n".join(table_lines(by_class)))
    print(f"{name} accuracy {evaluation.accuracy:.4f}  loss {evaluation.loss:.4f}", flush=True)
    write_table(Path(f"{stem}_classes.csv"), by_class)
    predicted = {f"predicted_{number}": column for number, column in enumerate(evaluation.confusion.T)}
    write_table(Path(f"{stem}_confusion.csv"), {"true": np.arange(len(evaluation.confusion)), **predicted})
    title = f"{name}: {100 * evaluation.accuracy:.2f} % of the targets right"
    plots.save_confusion(evaluation.confusion, title, Path(f"{stem}_confusion.png"))


def _report_parts(trained: TrainedModel, split: Split, parts: Mapping[str, np.ndarray], stem: str) -> None:
    """Print and save the accuracy of each part of the targets that the loader's `parts(config)` defines, if any.

    Raises:
      DatasetError: a mask does not have the shape of the targets, or is not boolean.
    """
    for name, mask in parts.items():
        if mask.shape != split.targets.shape or mask.dtype != bool:
            raise DatasetError(
                f"parts(config) of {trained.config.data.loader}: {name!r} is {mask.dtype} {mask.shape}; it must be "
                f"bool {split.targets.shape}, as the targets"
            )
    counts = {name: int(np.sum(mask & (split.targets != IGNORED))) for name, mask in parts.items()}
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return
    of_part = {name: split._replace(targets=np.where(parts[name], split.targets, IGNORED)) for name in counts}
    table: dict[str, list[Any]] = {
        "part": list(counts),
        "targets": list(counts.values()),
        "share (%)": [f"{100 * count / np.sum(split.targets != IGNORED):.1f}" for count in counts.values()],
        "accuracy (%)": [f"{100 * evaluate(trained, part).accuracy:.2f}" for part in of_part.values()],
    }
    print("\n" + "\n".join(table_lines(table)), flush=True)
    write_table(Path(f"{stem}_parts.csv"), table)


def _report_forecast(trained: TrainedModel, split: Split, name: str, stem: str) -> None:
    """Print and save the error of a forecast."""
    samples, outputs = Samples.of(split), jnp.asarray(trained.outputs(split.inputs))
    errors = draw_forecast(samples, outputs, trained.config.data.step_ms, Path(f"{stem}_forecast"))
    print(f"{name} mse {errors.second_half:.4f}  (second half, from the network's own output)", flush=True)


def _report_costs(trained: TrainedModel, split: Split, stem: str) -> None:
    """Print and save footprint, sparsity and operations of every layer."""
    steps = split.inputs.shape[1]
    feedback_from = feedback_start(steps) if trained.forecasts else None
    costs = measure_costs(trained.network, trained.variables, split.inputs, feedback_from, trained.config.batch_size)
    print(f"\ncosts of a sample of {steps} steps\n{format_costs(costs)}", flush=True)
    write_table(Path(f"{stem}_costs.csv"), as_columns(costs))


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
