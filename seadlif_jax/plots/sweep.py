"""The members of a sweep side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.members import describe_setting, without_seed
from seadlif_jax.plots.style import BLUE, CLASS_COLOURS, ORANGE, STYLE, picture


@picture
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
        name = describe_setting(without_seed(result["varied"]))
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
