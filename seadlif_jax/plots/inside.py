"""What training did to a network, and how gradients reach back in time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.plots.style import BLACK, BLUE, CLASS_COLOURS, ORANGE, STYLE, marker, picture, time_axis

if TYPE_CHECKING:
    from seadlif_jax.analysis.gradients import NeuronParameter

LABELS = {
    "tau_u": "membrane's tau_u (steps)",
    "tau_w": "adaptation's tau_w (steps)",
    "a": "coupling a to membrane",
    "b": "coupling b to spikes",
}
BINS = 24


@picture
def save_parameters(parameters: Sequence["NeuronParameter"], path: Path) -> None:
    """The distribution of every neuron parameter before and after training, a row a layer."""
    layers = max(parameter.layer for parameter in parameters)
    names = list(dict.fromkeys(parameter.name for parameter in parameters))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(names), 2.7 * layers))
        axes = figure.subplots(layers, len(names), squeeze=False)
        for parameter in parameters:
            ax = axes[parameter.layer - 1, names.index(parameter.name)]
            low, high = parameter.bounds
            bins = np.linspace(low, high, BINS) if high > low else BINS
            # A float32 at the end of its range may be beyond it as a float64.
            if parameter.before is not None:
                ax.hist(np.clip(np.float64(parameter.before), low, high), bins, color="0.75", label="before training")
            after = np.clip(np.float64(parameter.after), low, high)
            ax.hist(after, bins, histtype="step", color=BLUE, linewidth=1.6, label="after")
            ax.set_xlabel(LABELS[parameter.name])
            ax.set_title(f"hidden layer {parameter.layer}")
            ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        for row in axes:
            row[0].set_ylabel("neurons")
        axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)


@picture
def save_training(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Firing rates of the hidden layers and the norm of the gradient over the epochs."""
    epochs = [row["epoch"] for row in rows]
    prefix = "validation_spike_rate_"
    layers = [name.removeprefix(prefix) for name in rows[0] if name.startswith(prefix)]
    with rc_context(STYLE):
        figure = Figure(figsize=(5.4 * (1 + bool(layers)), 3.4))
        *first, last = figure.subplots(1, 1 + bool(layers), squeeze=False)[0]
        for ax in first:
            for layer, colour in zip(layers, CLASS_COLOURS * len(layers), strict=False):
                rates = [100 * row[prefix + layer] for row in rows]
                ax.plot(epochs, rates, color=colour, marker=marker(rows), label=f"hidden layer {layer}")
            ax.set_ylim(bottom=0)
            ax.set_ylabel("neurons that spike in a step (%)")
            ax.set_title("firing rate, validation samples")
            ax.legend()
        norms = np.array([row["gradient_norm"] for row in rows])
        last.plot(epochs, np.where(norms > 0, norms, np.nan), color=BLACK, marker=marker(rows))
        if (norms > 0).any():
            last.set_yscale("log")
        last.set_ylabel("norm of the gradient (before clipping)")
        last.set_title("gradient, mean over the steps of an epoch")
        for ax in (*first, last):
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.savefig(path, dpi=150)


@picture
def save_gradients(norms: Sequence[np.ndarray], counted: np.ndarray, step_ms: float | None, path: Path) -> None:
    """The gradient of the loss at the input of each layer, over the steps.

    Args:
      norms: of each hidden layer and of the readout, `[time]`.
      counted: `[time]`, the part of the samples whose loss depends on the readout of a step directly.
      step_ms: milliseconds a step stands for, or None for an axis in steps.
      path: where the picture goes.
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
        ax.set_title("how much the loss depends on what reaches a layer in each step")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)
