"""Distributions of the neurons' parameters before and after training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.plots.style import BLUE, STYLE, picture

# Layer (from 1), name, range, and values before (None if unknown) and after training.
ParameterValues = tuple[int, str, tuple[float, float], np.ndarray | None, np.ndarray]
LABELS: Mapping[str, str] = MappingProxyType(
    {
        "tau_u": "membrane's tau_u (steps)",
        "tau_w": "adaptation's tau_w (steps)",
        "a": "coupling a to membrane",
        "b": "coupling b to spikes",
    }
)
BINS = 24


@picture
def save_parameters(parameters: Sequence[ParameterValues], path: Path) -> None:
    """Draw the distribution of every neuron parameter before and after training, one row per layer."""
    layers = max(layer for layer, *_ in parameters)
    names = list(dict.fromkeys(name for _, name, *_ in parameters))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(names), 2.7 * layers))
        axes = figure.subplots(layers, len(names), squeeze=False)
        for layer, name, (low, high), before, after in parameters:
            ax = axes[layer - 1, names.index(name)]
            everything = np.concatenate([np.float64(values) for values in (before, after) if values is not None])
            low = low if np.isfinite(low) else everything.min()
            high = high if np.isfinite(high) else everything.max()
            bins = np.linspace(low, high, BINS) if high > low else BINS
            # A float32 at the end of its range may be beyond it as a float64.
            if before is not None:
                ax.hist(np.clip(np.float64(before), low, high), bins, color="0.75", label="before training")
            values = np.clip(np.float64(after), low, high)
            ax.hist(values, bins, histtype="step", color=BLUE, linewidth=1.6, label="after")
            ax.set_xlabel(LABELS.get(name, name))
            ax.set_title(f"hidden layer {layer}")
            ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        for row in axes:
            row[0].set_ylabel("neurons")
        axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)
