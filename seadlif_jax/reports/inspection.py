"""The picture of a network at work on one sample, as it suits its task: for `seadlif inspect`."""

import functools
from pathlib import Path

from seadlif_jax import plots
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.inference import TrainedModel
from seadlif_jax.tasks import Classification, Forecast, Task


@functools.singledispatch
def save_sample(task: Task, trained: TrainedModel, sample: Samples, path: Path) -> None:
    """Draw a network at work; other kinds of task can register their own.

    Args:
      task: the task of the network.
      trained: the network.
      sample: a batch of one sample.
      path: file to write.
    """


@save_sample.register
def _(task: Classification, trained, sample, path):
    sample = task.prepare(sample)
    outputs, states = trained.trace(sample.inputs)
    thresholds = [layer.neuron.constant_threshold for layer in trained.network.layers]
    plots.save_raster(sample, outputs, states, thresholds, task.aggregation, path)


@save_sample.register
def _(task: Forecast, trained, sample, path):
    sample = task.prepare(sample)
    plots.save_forecast(sample, trained.outputs(sample.inputs), trained.config.data.step_ms, path)
