"""Gradients of the loss, back in time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from seadlif_jax.plots.style import BLUE, CLASS_COLOURS, ORANGE, STYLE, picture, time_axis


@picture
def save_gradients(norms: Sequence[np.ndarray], counted: np.ndarray, step_ms: float | None, path: Path) -> None:
    """Draw the gradient of the loss at the input of each layer over the steps.

    Args:
      norms: norms of the gradient for each hidden layer and the readout, `[time]`.
      counted: fraction of the samples whose loss depends on the readout of a step directly, `[time]`.
      step_ms: milliseconds that a step stands for, or None for an axis in steps.
      path: file to write.
    """
    time, label = time_axis(np.arange(len(counted)), step_ms)
    names = [*(f"input of hidden layer {number}" for number in range(1, len(norms))), "input of the readout"]
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6))
        ax = figure.subplots()
        for norm, name, colour in zip(norms, names, (BLUE, ORANGE, *CLASS_COLOURS[2:]), strict=False):
            ax.plot(time, np.where(norm > 0, norm, np.nan), color=colour, linewidth=1.3, label=name)
        if any((norm > 0).any() for norm in norms):
            ax.set_yscale("log")
        ax.set_xlim(0, time[-1])
        ax.fill_between(
            time, 0, 1, where=counted > 0, transform=ax.get_xaxis_transform(), color="0.92", zorder=0,
            label="steps that count", linewidth=0,
        )  # fmt: skip
        ax.set_xlabel(label)
        ax.set_ylabel("norm of the gradient, dL / dx")
        ax.set_title("gradient of the loss at the input of each layer")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)
