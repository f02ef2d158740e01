"""Pictures that a finished run leaves in its folder, as they suit its task."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array

from seadlif_jax import nn, plots
from seadlif_jax.analysis.forecast_error import ForecastError, cut_windows, squared_errors
from seadlif_jax.data.dataset import Split
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.inference.trained_model import run_network, trace_network
from seadlif_jax.losses import IGNORED, aggregate, feedback_start
from seadlif_jax.runs.checkpoint import Variables
from seadlif_jax.runs.files import write_table
from seadlif_jax.tasks import Classification, Forecast, Task

RASTER_CANDIDATES = 16


@functools.singledispatch
def save_task_pictures(
    task: Task,
    network: nn.Network,
    hyper: nn.Hyperparameters,
    variables: Variables,
    test: Split,
    step_ms: float | None,
    folder: Path,
) -> None:
    """Leave the pictures of a trained network that suit its task; other kinds of task can register their own.

    Args:
      task: the task.
      network: the network.
      hyper: numbers that override its own.
      variables: its variables, by collection.
      test: test split.
      step_ms: milliseconds that a step stands for, or None.
      folder: folder for the pictures.
    """


@save_task_pictures.register
def _(task: Classification, network, hyper, variables, test, step_ms, folder):
    """Draw the network at work: on the first test sample that it gets right, or else on the first of all."""
    samples = task.prepare(Samples.of(test, 0, RASTER_CANDIDATES))
    outputs, states = trace_network(network, variables, samples.inputs, hyper)
    scores = aggregate(outputs, samples.block_index, samples.targets.shape[1] - 1, task.aggregation)
    correct = (scores.argmax(axis=-1) == samples.targets) | (samples.targets == IGNORED)
    chosen = int(correct.all(axis=1).argmax())
    samples, outputs, states = jax.tree.map(lambda array: array[chosen : chosen + 1], (samples, outputs, states))
    constant = (neuron.constant_threshold for neuron in hyper.neurons)
    thresholds = [None if threshold is None else float(threshold) for threshold in constant]
    plots.save_raster(samples, outputs, states, thresholds, task.aggregation, folder / "raster.png")


@save_task_pictures.register
def _(task: Forecast, network, hyper, variables, test, step_ms, folder):
    samples = task.prepare(Samples.of(test))
    outputs = run_network(network, task, variables, samples.inputs, hyper)
    draw_forecast(samples, outputs, step_ms, folder / "forecast")


def draw_forecast(samples: Samples, outputs: Array, step_ms: float | None, stem: Path) -> ForecastError:
    """Leave the forecast of the first of some samples, and the error in the course of all of them.

    Returns:
      the errors of the network; `<stem>.png`, `<stem>_error.png` and `<stem>_error.csv` are left.
    """
    network, zero = (jax.jit(squared_errors)(y, samples) for y in (outputs, jnp.zeros_like(outputs)))
    num_steps = outputs.shape[1]
    windows = cut_windows(num_steps, step_ms)
    network_mse, zero_mse = windows.mean(network.steps), windows.mean(zero.steps)
    write_table(
        Path(f"{stem}_error.csv"),
        {
            f"from_{windows.unit}": windows.edges[:-1],
            f"to_{windows.unit}": windows.edges[1:],
            "network_mse": network_mse,
            "zero_mse": zero_mse,
        },
    )
    plots.save_forecast(samples, outputs, step_ms, Path(f"{stem}.png"))
    step = 1.0 if step_ms is None else step_ms
    plots.save_forecast_error(
        windows.edges,
        windows.unit,
        (step * feedback_start(num_steps), step * num_steps),
        (network_mse, float(network.second_half)),
        (zero_mse, float(zero.second_half)),
        Path(f"{stem}_error.png"),
    )
    return network
