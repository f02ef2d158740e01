"""What `seadlif evaluate` prints and leaves of a network, as it suits its task."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from seadlif_jax import plots
from seadlif_jax.analysis.synops import format_costs, measure_costs
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.loader import find_loader
from seadlif_jax.data.loading import DatasetError
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.device import FixedPointNetwork
from seadlif_jax.inference import TrainedModel, evaluate
from seadlif_jax.inference.evaluation import measure
from seadlif_jax.losses import IGNORED
from seadlif_jax.reports.pictures import draw_forecast
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.files import write_table
from seadlif_jax.tasks import Classification, Forecast, Task
from seadlif_jax.utils.tables import as_columns, table_lines


@functools.singledispatch
def report_evaluation(task: Task, trained: TrainedModel, split: Split, name: str, stem: str) -> None:
    """Print and save how well a network does what it was trained for; other kinds of task can register their own.

    Args:
      task: the task of the network.
      trained: the network.
      split: samples to evaluate it on.
      name: name of the split.
      stem: path of the files to write, without the end of their names.
    """
    metrics = measure(trained, split)
    print(f"{name} " + "  ".join(f"{metric} {value:.4f}" for metric, value in metrics.items()), flush=True)


@report_evaluation.register
def _(task: Classification, trained, split, name, stem):
    """Report every class, the confusion matrix, and the parts that the loader's `parts(config, split)` defines."""
    report_classes(trained, split, name, stem)
    _report_parts(trained, split, find_loader(trained.config.data).parts(trained.config, name), stem)


@report_evaluation.register
def _(task: Forecast, trained, split, name, stem):
    samples = task.prepare(Samples.of(split))
    outputs = jnp.asarray(trained.outputs(samples.inputs))
    errors = draw_forecast(samples, outputs, trained.config.data.step_ms, Path(f"{stem}_forecast"))
    print(f"{name} mse {errors.second_half:.4f}  (second half, from the network's own output)", flush=True)


@functools.singledispatch
def save_audio(task: Task, trained: TrainedModel, name: str, stem: str) -> None:
    """Leave recordings to listen to; for tasks whose outputs are sound, which register their own.

    Raises:
      RunError: the task has none.
    """
    raise RunError(f"--save_audio: config.task = {trained.config.task!r} has no sound to listen to; leave it out")


def report_classes(
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


def report_costs(trained: TrainedModel, split: Split, stem: str) -> None:
    """Print and save footprint, sparsity and operations of every layer."""
    steps = split.inputs.shape[1]
    feedback_from = trained.task.feedback_from(steps)
    costs = measure_costs(
        trained.network,
        trained.variables,
        split.inputs,
        feedback_from,
        trained.config.batch_size,
        trained.task.prepare,
    )
    print(f"\ncosts of a sample of {steps} steps\n{format_costs(costs)}", flush=True)
    write_table(Path(f"{stem}_costs.csv"), as_columns(costs))


def _report_parts(trained: TrainedModel, split: Split, parts: Mapping[str, np.ndarray], stem: str) -> None:
    """Print and save the accuracy of each part of the targets, if there are any.

    Raises:
      DatasetError: a mask does not have the shape of the targets, or is not boolean.
    """
    for name, mask in parts.items():
        mask = np.asarray(mask)
        if mask.shape != split.targets.shape or mask.dtype != bool:
            raise DatasetError(
                f"parts(config, split) of {trained.config.data.loader}: {name!r} is {mask.dtype} {mask.shape}; it must "
                f"be bool {split.targets.shape}, as the targets"
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
