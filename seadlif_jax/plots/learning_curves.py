"""Metrics of one run over the epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.plots.style import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    ORANGE,
    STYLE,
    label_of,
    marker,
    picture,
    scale_of,
)

RATE_PREFIX = "validation_spike_rate_"


@picture
def save_curves(rows: Sequence[Mapping[str, float]], best_epoch: int, metrics: Sequence[str], path: Path) -> None:
    """Draw metrics such as loss and accuracy over the epochs, of training and validation.

    Args:
      rows: metrics of the epochs.
      best_epoch: the selected epoch, which is marked.
      metrics: names of the metrics, a panel each.
      path: file to write.
    """
    epochs = [row["epoch"] for row in rows]
    with rc_context(STYLE):
        figure = Figure(figsize=(5 * len(metrics), 3.4))
        axes = figure.subplots(1, len(metrics), squeeze=False)
        for ax, metric in zip(axes[0], metrics, strict=True):
            scale = scale_of(metric)
            for split, colour in (("train", ORANGE), ("validation", BLUE)):
                values = [scale * row[f"{split}_{metric}"] for row in rows]
                ax.plot(epochs, values, color=colour, marker=marker(rows), label=split)
            best = scale * rows[best_epoch - 1][f"validation_{metric}"]
            unit = " %" if scale == 100 else ""
            ax.plot(best_epoch, best, "o", color=BLACK, label=f"selected: epoch {best_epoch}, {best:.4g}{unit}")
            ax.set_xlabel("epoch")
            ax.set_ylabel(label_of(metric))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.legend()
        figure.savefig(path, dpi=150)


@picture
def save_training(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw firing rates of the hidden layers and the norm of the gradient over the epochs."""
    epochs = [row["epoch"] for row in rows]
    layers = [name.removeprefix(RATE_PREFIX) for name in rows[0] if name.startswith(RATE_PREFIX)]
    with rc_context(STYLE):
        figure = Figure(figsize=(5.4 * (1 + bool(layers)), 3.4))
        *first, last = figure.subplots(1, 1 + bool(layers), squeeze=False)[0]
        for ax in first:
            for layer, colour in zip(layers, CLASS_COLOURS * len(layers), strict=False):
                rates = [100 * row[RATE_PREFIX + layer] for row in rows]
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
