"""A network at work on one sample: input, spikes, membrane potentials, readout."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.losses import IGNORED, aggregate
from seadlif_jax.plots.style import BLACK, BLUE, CLASS_COLOURS, GREEN, ORANGE, STYLE, VERMILION, YELLOW, picture


@picture
def save_raster(
    sample: Any,
    outputs: Any,
    states: Sequence[Any],
    thresholds: Sequence[float | None],
    aggregation: str,
    path: Path,
) -> None:
    """Draw input, hidden spikes, traces of all other states, and readout of the first sample of a batch.

    Args:
      sample: the batch, with `inputs [batch, time, channel]`, `targets` and `block_index`.
      outputs: the readout `[batch, time, class]`.
      states: the hidden layers' states, every field `[batch, time, neuron]`.
      thresholds: the hidden layers' thresholds; None for one that is not constant.
      aggregation: aggregation of the steps of a block, a name in `losses.AGGREGATIONS`.
      path: file to write.
    """
    inputs, targets, block_index = (np.asarray(array)[0] for array in sample)
    scores = aggregate(outputs[:1], sample.block_index[:1], len(targets) - 1, aggregation)
    predictions = np.asarray(scores[0]).argmax(axis=-1)
    outputs = np.asarray(outputs)[0]
    layers = [
        ({name: np.asarray(getattr(state, name))[0] for name in _traced(state)}, threshold)
        for state, threshold in zip(states, thresholds, strict=True)
        if "z" in state._fields
    ]

    panels: list[tuple[float, Callable[[Axes], None]]] = [(1.2, lambda ax: _inputs(ax, inputs))]
    for number, (layer, threshold) in enumerate(layers, 1):
        panels.append((2.0, functools.partial(_spikes, spikes=layer["z"], title=f"spikes of hidden layer {number}")))
        for place, name in enumerate(name for name in layer if name != "z"):
            trace = functools.partial(_traces, state=layer, name=name, threshold=threshold)
            panels.append((1.3, functools.partial(trace, number=number if place == 0 else None)))
    if len(targets) == 2 and targets[1] != IGNORED:
        panels.append((1.5, lambda ax: _decision(ax, outputs, block_index, int(targets[1]), int(predictions[1]))))
    else:
        panels.append((1.5, lambda ax: _readout(ax, outputs)))
        panels.append((0.6, lambda ax: _labels(ax, targets, predictions, block_index)))

    heights = [height for height, _ in panels]
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 1.15 * sum(heights)))
        axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights, squeeze=False)
        for ax, (_, draw) in zip(axes[:, 0], panels, strict=True):
            draw(ax)
        axes[-1, 0].set_xlabel("time (steps)")
        axes[-1, 0].set_xlim(0, len(outputs))
        figure.savefig(path, dpi=150)


def _inputs(ax: Axes, inputs: np.ndarray) -> None:
    time, channels = np.nonzero(inputs)
    positive = inputs[time, channels] > 0
    ax.plot(time[positive], channels[positive], "|", color=BLACK, markersize=4)
    ax.plot(time[~positive], channels[~positive], "|", color=VERMILION, markersize=4)
    _raster_axis(ax, "channel", inputs.shape[1])
    ax.set_title("input" if positive.all() else "input (black: +1, orange: -1)")


def _spikes(ax: Axes, spikes: np.ndarray, title: str) -> None:
    time, neurons = np.nonzero(spikes)
    size = max(1.0, min(4.0, 150 / spikes.shape[1]))
    ax.plot(time, neurons, "|", color=BLUE, markersize=size, markeredgewidth=min(1.0, 400 / len(spikes)))
    _raster_axis(ax, "neuron", spikes.shape[1])
    ax.set_title(f"{title}: {100 * spikes.mean():.1f} % of neurons per step")


LABELS = {
    "u": "membrane\npotential u",
    "u_hat": "membrane\npotential u_hat",
    "w": "adaptation\ncurrent w",
}


def _traced(state: Any) -> list[str]:
    """Return the names of what is drawn of a state: the membrane potential after the reset rather than before it."""
    others = [name for name in state._fields if name not in ("u", "u_hat")]
    membrane = [name for name in ("u", "u_hat") if hasattr(state, name)]
    return [*membrane[:1], *others]


def _traces(ax: Axes, state: Mapping[str, np.ndarray], name: str, threshold: float | None, number: int | None) -> None:
    """Draw a variable of the state of two neurons with firing rates near their layer's mean.

    The first panel of a layer, which has its number, has title, legend and the spikes of the two.
    """
    counts = state["z"].sum(axis=0)
    distance = np.where(counts > 0, np.abs(counts - counts.mean()), np.inf)  # silent neurons last
    neurons = np.argsort(distance, kind="stable")[:2]
    for neuron, colour in zip(neurons, (ORANGE, GREEN), strict=False):
        ax.plot(state[name][:, neuron], color=colour, linewidth=1, label=f"neuron {neuron}")
    if number is not None:
        if threshold is not None and name in ("u", "u_hat"):
            ax.axhline(threshold, color=BLACK, linewidth=0.8, linestyle=":", label="threshold")
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.3 * (high - low))  # room for the spikes
        for row, (neuron, colour) in enumerate(zip(neurons, (ORANGE, GREEN), strict=False)):
            spikes = np.flatnonzero(state["z"][:, neuron])
            height = np.full(len(spikes), 0.94 - 0.09 * row)
            ax.plot(spikes, height, "|", color=colour, markersize=5, transform=ax.get_xaxis_transform())
        ax.set_title(f"two neurons of hidden layer {number} (ticks: their spikes)")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    ax.set_ylabel(LABELS.get(name, name))


def _decision(ax: Axes, outputs: np.ndarray, block_index: np.ndarray, target: int, prediction: int) -> None:
    """Draw the readout of a sample with one target: its class, the predicted class if different, the rest in grey."""
    for number, values in enumerate(outputs.T):
        if number not in (target, prediction):
            ax.plot(values, color="#BBBBBB", linewidth=0.8)
    if prediction != target:
        ax.plot(outputs[:, prediction], color=VERMILION, linewidth=1.8, label=f"predicted: class {prediction}")
    ax.plot(outputs[:, target], color=BLUE, linewidth=1.8, label=f"target: class {target}")
    counted = np.flatnonzero(block_index)
    ax.axvspan(counted[0], counted[-1] + 1, color=YELLOW, alpha=0.3, linewidth=0, label="steps that count")
    ax.set_ylabel("readout y")
    ax.set_title(f"readout: {'correct' if prediction == target else 'wrong'}")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _readout(ax: Axes, outputs: np.ndarray) -> None:
    for number, values in enumerate(outputs.T):
        ax.plot(values, color=CLASS_COLOURS[number % len(CLASS_COLOURS)], linewidth=1, label=f"class {number}")
    ax.set_ylabel("readout y")
    ax.set_title("readout")
    if outputs.shape[1] <= len(CLASS_COLOURS):
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1.2), fontsize=9)


def _labels(ax: Axes, targets: np.ndarray, predictions: np.ndarray, block_index: np.ndarray) -> None:
    """Draw target and prediction of every step, in the colours of the classes."""
    for row, labels in enumerate((predictions, targets)):
        label_of_step = np.where(targets[block_index] == IGNORED, IGNORED, labels[block_index])
        starts = np.flatnonzero(np.diff(label_of_step, prepend=IGNORED - 1))
        lengths = np.diff(starts, append=len(label_of_step))
        for start, length in zip(starts, lengths, strict=True):
            if label_of_step[start] != IGNORED:
                colour = CLASS_COLOURS[label_of_step[start] % len(CLASS_COLOURS)]
                ax.broken_barh([(float(start), float(length))], (row, 0.8), color=colour, linewidth=0)
    ax.set_yticks([0.4, 1.4], ["predicted", "target"])


def _raster_axis(ax: Axes, label: str, count: int) -> None:
    ax.set_ylabel(label)
    ax.set_ylim(-0.5, count - 0.5)
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
