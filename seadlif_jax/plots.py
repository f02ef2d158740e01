"""Pictures of a run: learning curves, the network at work on one sample, forecasts, and robustness to shifts.

Colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from seadlif_jax import sweep
from seadlif_jax.forecast import Errors, Windows
from seadlif_jax.readout import IGNORED, aggregate, feedback_start

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
CLASS_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK)
FORECAST_CHANNELS = 4  # at most, a panel each
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def save_curves(rows: Sequence[Mapping[str, float]], best_epoch: int, score_name: str, path: Path) -> None:
    """Loss and accuracy (or MSE) over the epochs, of training and validation, with the selected epoch marked."""
    epochs = [row["epoch"] for row in rows]
    panels = ["loss"] if score_name == "mse" else ["loss", score_name]
    with rc_context(STYLE):
        figure = Figure(figsize=(5 * len(panels), 3.4))
        axes = figure.subplots(1, len(panels), squeeze=False)
        for ax, metric in zip(axes[0], panels, strict=True):
            scale = 100 if metric == "accuracy" else 1
            for split, colour in (("train", ORANGE), ("validation", BLUE)):
                ax.plot(epochs, [scale * row[f"{split}_{metric}"] for row in rows], color=colour, label=split)
            best = scale * rows[best_epoch - 1][f"validation_{metric}"]
            unit = " %" if metric == "accuracy" else ""
            ax.plot(best_epoch, best, "o", color=BLACK, label=f"selected: epoch {best_epoch}, {best:.4g}{unit}")
            ax.set_xlabel("epoch")
            ax.set_ylabel("accuracy (%)" if metric == "accuracy" else metric)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.legend()
        figure.savefig(path, dpi=150)


def save_raster(sample: Any, outputs: Any, states: Sequence[Any], aggregation: str, path: Path) -> None:
    """Input, hidden spikes, membrane and adaptation traces, and readout of the first sample of a batch.

    Args:
      sample: the batch, with `inputs [batch, time, channel]`, `targets` and `block_index`.
      outputs: the readout `[batch, time, class]`.
      states: the hidden layers' states, every field `[batch, time, neuron]`.
      aggregation: how the steps of a block are aggregated, a name in `readout.AGGREGATIONS`.
      path: where the picture goes.
    """
    inputs, targets, block_index = (np.asarray(array)[0] for array in sample)
    scores = aggregate(outputs[:1], sample.block_index[:1], len(targets) - 1, aggregation)
    predictions = np.asarray(scores[0]).argmax(axis=-1)
    outputs = np.asarray(outputs)[0]
    layers = [
        {name: np.asarray(values)[0] for name, values in state._asdict().items()}
        for state in states
        if "z" in state._fields
    ]

    panels: list[tuple[float, Callable[[Axes], None]]] = [(1.2, lambda ax: _inputs(ax, inputs))]
    for number, layer in enumerate(layers, 1):
        panels.append((2.0, functools.partial(_spikes, spikes=layer["z"], title=f"spikes of hidden layer {number}")))
    for name in ("u", "w"):
        if layers and name in layers[0]:
            panels.append((1.3, functools.partial(_traces, state=layers[0], name=name)))
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


def save_sweep(
    results: Sequence[Mapping[str, Any]],
    rows: Sequence[Sequence[Mapping[str, float]]],
    score_name: str,
    path: Path,
) -> None:
    """Validation over the epochs, setting by setting, and the selected epochs against each number that was varied.

    Args:
      results: of the members, with what they `varied`, and `validation` unless they `diverged`.
      rows: the metrics of each.
      score_name: what is shown.
      path: where the picture goes.
    """
    unit = " (%)" if score_name == "accuracy" else ""
    settings = _by_setting(results)
    numbers = [name for name in results[0]["varied"] if _is_varied_number(name, results)]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.5 + 4.2 * len(numbers), 4))
        axes = figure.subplots(1, 1 + len(numbers), squeeze=False, width_ratios=[1.6, *([1] * len(numbers))])[0]
        _sweep_curves(axes[0], settings, rows, f"validation_{score_name}")
        for ax, name in zip(axes[1:], numbers, strict=True):
            _against(ax, name, [result for result in results if not result["diverged"]], score_name)
        for ax in axes:
            ax.set_ylabel(f"validation {score_name}{unit}")
        figure.savefig(path, dpi=150)


def _by_setting(results: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """The numbers of the members of each setting, by its name."""
    settings: dict[str, list[int]] = {}
    for number, result in enumerate(results):
        name = sweep.describe({name: value for name, value in result["varied"].items() if name != "seed"})
        settings.setdefault(name, []).append(number)
    return settings


def _is_varied_number(name: str, results: Sequence[Mapping[str, Any]]) -> bool:
    values = [result["varied"][name] for result in results]
    return name != "seed" and not isinstance(values[0], tuple | list) and len(set(values)) > 1


def _sweep_curves(
    ax: Axes, settings: Mapping[str, Sequence[int]], rows: Sequence[Sequence[Mapping[str, float]]], metric: str
) -> None:
    """The mean over the seeds of each setting, with their range as a band; the best settings have a colour."""
    scale = 100 if metric.endswith("accuracy") else 1
    better = max if metric.endswith("accuracy") else min
    num_epochs = max(map(len, rows))
    curves = {}
    for name, numbers in settings.items():
        finished = [rows[number] for number in numbers if len(rows[number]) == num_epochs > 0]
        if finished:
            curves[name] = np.array([[scale * row[metric] for row in own] for own in finished])
    ranked = sorted(curves, key=lambda name: better(curves[name].mean(axis=0)), reverse=better is max)
    for name, values in curves.items():
        rank = ranked.index(name)
        shown = rank < len(CLASS_COLOURS) - 1
        colour = CLASS_COLOURS[rank] if shown else "0.8"
        epochs = np.arange(1, values.shape[1] + 1)
        label = (name or f"mean of {len(values)} seeds, and their range") if shown else None
        ax.plot(epochs, values.mean(axis=0), color=colour, linewidth=1.5, label=label, zorder=-rank)
        ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if curves:
        ax.legend(fontsize=9)


def _against(ax: Axes, name: str, results: Sequence[Mapping[str, Any]], score_name: str) -> None:
    """Every member's selected epoch against one of the numbers, and their mean."""
    scale = 100 if score_name == "accuracy" else 1
    values = np.array([result["varied"][name] for result in results])
    scores = np.array([scale * result["validation"][score_name] for result in results])
    ax.plot(values, scores, "o", color=BLUE, markersize=4, alpha=0.6, label="members")
    different = np.unique(values)
    if len(different) < len(values):
        means = [scores[values == value].mean() for value in different]
        ax.plot(different, means, "-", color=ORANGE, label="mean")
        ax.legend(fontsize=9)
    if different.size and different.min() > 0 and different.max() >= 10 * different.min():
        ax.set_xscale("log")
    ax.set_xlabel(name.replace("_", " "))


def save_robustness(rows: Sequence[Any], path: Path) -> None:
    """Accuracy against level, a line a shift with the standard deviation as a band; that without a shift is marked.

    Args:
      rows: those of `robustness.measure_robustness`, the first of every shift at level 0.
      path: where the picture goes.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6))
        ax = figure.subplots()
        clean = 100 * rows[0].accuracy
        ax.axhline(clean, color=BLACK, linewidth=0.8, linestyle=":", label=f"without shift: {clean:.2f} %")
        names = dict.fromkeys(row.shift for row in rows)  # in order, each once
        for name, colour in zip(names, (ORANGE, BLUE, *CLASS_COLOURS[2:]), strict=False):
            of_shift = [row for row in rows if row.shift == name]
            levels = [row.level for row in of_shift]
            mean = np.array([100 * row.accuracy for row in of_shift])
            draws = of_shift[0].draws
            label = f"{name} ({draws} draws, +- standard deviation)" if draws > 1 else name
            ax.plot(levels, mean, "o-", color=colour, markersize=4, label=label)
            std = np.array([100 * (row.accuracy_std or 0) for row in of_shift])
            ax.fill_between(levels, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0)
        ax.set_xlabel("shift (mean added events per channel and step)")
        ax.set_ylabel("test accuracy (%)")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)


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
    time, label = _time_axis(np.arange(len(truth)), step_ms)
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
        axes[0].set_title("first test sample, true and predicted, in the unit of the data")
        axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1))
        axes[-1].set_xlabel(label)
        axes[-1].set_xlim(0, time[-1])
        figure.savefig(path, dpi=150)


def save_forecast_error(windows: Windows, network: Errors, zero: Errors, step_ms: float | None, path: Path) -> None:
    """The squared error in windows along the trajectory, of the network and of the prediction zero."""
    num_steps = len(windows.of_step)
    (start, end), label = _time_axis(np.array([feedback_start(num_steps), num_steps]), step_ms)
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


def _time_axis(steps: np.ndarray, step_ms: float | None) -> tuple[np.ndarray, str]:
    """Times and label of an axis in ms, or in steps where these stand for no time."""
    return (steps, "time (steps)") if step_ms is None else (step_ms * steps, "time (ms)")


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
    ax.set_title(f"{title}: {100 * spikes.mean():.1f} % of neurons a step")


def _traces(ax: Axes, state: Mapping[str, np.ndarray], name: str) -> None:
    """Membrane potential or adaptation current of two neurons that spike about as often as their layer's mean."""
    counts = state["z"].sum(axis=0)
    distance = np.where(counts > 0, np.abs(counts - counts.mean()), np.inf)  # silent neurons last
    neurons = np.argsort(distance, kind="stable")[:2]
    for row, (neuron, colour) in enumerate(zip(neurons, (ORANGE, GREEN), strict=False)):
        ax.plot(state[name][:, neuron], color=colour, linewidth=1, label=f"neuron {neuron}")
        if name == "u":
            spikes = np.flatnonzero(state["z"][:, neuron])
            ax.plot(spikes, np.full(len(spikes), 1.3 + 0.3 * row), "|", color=colour, markersize=5)
    if name == "u":
        ax.axhline(1.0, color=BLACK, linewidth=0.8, linestyle=":", label="threshold")
        ax.set_title("two neurons of layer 1 after reset (ticks: their spikes)")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    ax.set_ylabel({"u": "membrane\npotential u", "w": "adaptation\ncurrent w"}[name])


def _decision(ax: Axes, outputs: np.ndarray, block_index: np.ndarray, target: int, prediction: int) -> None:
    """The readout of a sample with one target: its class, the predicted class if another, and the rest in grey."""
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
    """Target and prediction of every step, in the colours of the classes."""
    for row, labels in enumerate((predictions, targets)):
        of_step = np.where(targets[block_index] == IGNORED, IGNORED, labels[block_index])
        starts = np.flatnonzero(np.diff(of_step, prepend=IGNORED - 1))
        lengths = np.diff(starts, append=len(of_step))
        for start, length in zip(starts, lengths, strict=True):
            if of_step[start] != IGNORED:
                colour = CLASS_COLOURS[of_step[start] % len(CLASS_COLOURS)]
                ax.broken_barh([(float(start), float(length))], (row, 0.8), color=colour, linewidth=0)
    ax.set_yticks([0.4, 1.4], ["predicted", "target"])


def _raster_axis(ax: Axes, label: str, count: int) -> None:
    ax.set_ylabel(label)
    ax.set_ylim(-0.5, count - 0.5)
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
