"""Forecasts, and their error along the trajectory."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from seadlif_jax.analysis.forecast_error import Errors, Windows
from seadlif_jax.losses import feedback_start
from seadlif_jax.plots.style import BLACK, BLUE, STYLE, VERMILION, YELLOW, picture, time_axis

FORECAST_CHANNELS = 4  # at most, a panel each


@picture
def save_forecast(samples: Any, outputs: Any, step_ms: float | None, path: Path) -> None:
    """The first sample of a batch, its first four channels: what happened, and what the network predicted.

    Args:
      samples: the batch, with `inputs [sample, time, channel]` and `targets [sample, time + 1, channel]`.
      outputs: the predictions `[sample, time, channel]` of the next input.
      step_ms: milliseconds a step stands for, or None for an axis in steps.
      path: where the picture goes.
    """
    inputs, targets, outputs = (np.asarray(array[0]) for array in (samples.inputs, samples.targets, outputs))
    truth = np.concatenate([inputs[:1], targets[1:]])
    time, label = time_axis(np.arange(len(truth)), step_ms)
    start = feedback_start(len(inputs))
    shown = min(FORECAST_CHANNELS, inputs.shape[1])
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 0.9 + 1.5 * shown))
        axes = figure.subplots(shown, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for channel, ax in enumerate(axes):
            ax.axvspan(time[start], time[-1], color=YELLOW, alpha=0.3, linewidth=0, label="fed its own output")
            ax.plot(time, truth[:, channel], color=BLACK, linewidth=1.8, label="true")
            ax.plot(time[1:], outputs[:, channel], color=VERMILION, linewidth=1.2, label="predicted")
            ax.set_ylabel(f"channel {channel}")
        axes[0].set_title("true and predicted, in the unit of the data")
        axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1))
        axes[-1].set_xlabel(label)
        axes[-1].set_xlim(0, time[-1])
        figure.savefig(path, dpi=150)


@picture
def save_forecast_error(windows: Windows, network: Errors, zero: Errors, step_ms: float | None, path: Path) -> None:
    """The squared error in windows along the trajectory, of the network and of the prediction zero."""
    num_steps = len(windows.of_step)
    (start, end), label = time_axis(np.array([feedback_start(num_steps), num_steps]), step_ms)
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6))
        ax = figure.subplots()
        ax.axvspan(start, end, color=YELLOW, alpha=0.3, linewidth=0, label="fed its own output")
        for name, errors, colour, style in (("network", network, BLUE, "-"), ("zero prediction", zero, BLACK, "--")):
            text = f"{name}\n(second half: {float(errors.second_half):.3g})"
            ax.stairs(
                windows.mean(errors.steps),
                windows.edges,
                baseline=None,
                color=colour,
                linestyle=style,
                linewidth=1.8,
                label=text,
            )
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(f"{label}, in windows of {windows.edges[1]:g} {windows.unit}")
        ax.set_ylabel("mean squared error (log scale)")
        ax.set_xlim(0, windows.edges[-1])
        ax.set_title("error of the forecast, mean over the test samples and channels")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)
