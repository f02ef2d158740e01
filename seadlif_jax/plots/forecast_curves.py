"""Forecasts, and their error along the trajectory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from seadlif_jax.losses import feedback_start
from seadlif_jax.plots.style import BLACK, BLUE, STYLE, VERMILION, YELLOW, picture, time_axis

MAX_CHANNELS = 4  # a panel each
FEEDBACK = "fed its own output"


@picture
def save_forecast(samples: Any, outputs: Any, step_ms: float | None, path: Path) -> None:
    """Draw the true and the predicted signal of the first four channels of the first sample of a batch.

    Args:
      samples: the batch, with `inputs [sample, time, channel]` and `targets [sample, time + 1, channel]`.
      outputs: the predictions `[sample, time, channel]` of the next input.
      step_ms: milliseconds that a step stands for, or None for an axis in steps.
      path: file to write.
    """
    inputs, targets, outputs = (np.asarray(array[0]) for array in (samples.inputs, samples.targets, outputs))
    truth = np.concatenate([inputs[:1], targets[1:]])
    time, label = time_axis(np.arange(len(truth)), step_ms)
    start = feedback_start(len(inputs))
    channels = min(MAX_CHANNELS, inputs.shape[1])
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 0.9 + 1.5 * channels))
        axes = figure.subplots(channels, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for channel, ax in enumerate(axes):
            ax.axvspan(time[start], time[-1], color=YELLOW, alpha=0.3, linewidth=0, label=FEEDBACK)
            ax.plot(time, truth[:, channel], color=BLACK, linewidth=1.8, label="true")
            ax.plot(time[1:], outputs[:, channel], color=VERMILION, linewidth=1.2, label="predicted")
            ax.set_ylabel(f"channel {channel}")
        axes[0].set_title("true and predicted, in the unit of the data")
        axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1))
        axes[-1].set_xlabel(label)
        axes[-1].set_xlim(0, time[-1])
        figure.savefig(path, dpi=150)


@picture
def save_forecast_error(
    edges: np.ndarray,
    unit: str,
    feedback: tuple[float, float],
    network: tuple[np.ndarray, float],
    zero: tuple[np.ndarray, float],
    path: Path,
) -> None:
    """Draw the squared error in windows along the trajectory, of the network and of the prediction zero.

    Args:
      edges: where the windows begin and end, `[window + 1]`.
      unit: unit of `edges`.
      feedback: interval in which the network is fed its own output, in the same unit.
      network: mean squared errors of the network, `[window]`, and over the second half.
      zero: the same of the prediction zero.
      path: file to write.
    """
    curves: Mapping[str, Any] = {"network": (network, BLUE, "-"), "zero prediction": (zero, BLACK, "--")}
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6))
        ax = figure.subplots()
        ax.axvspan(*feedback, color=YELLOW, alpha=0.3, linewidth=0, label=FEEDBACK)
        for name, ((errors, second_half), colour, line) in curves.items():
            label = f"{name}\n(second half: {second_half:.3g})"
            ax.stairs(errors, edges, baseline=None, color=colour, linestyle=line, linewidth=1.8, label=label)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(f"time ({unit}), in windows of {edges[1]:g} {unit}")
        ax.set_ylabel("mean squared error (log scale)")
        ax.set_xlim(0, edges[-1])
        ax.set_title("error of the forecast, mean over the test samples and channels")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)
