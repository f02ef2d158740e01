"""Several runs in one picture: the members of a sweep, or runs of any kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.members import describe_setting, without_seed
from seadlif_jax.plots.style import BLUE, CLASS_COLOURS, ORANGE, STYLE, label_of, literal, marker, picture, scale_of

LINES = ("-", "--")  # the second when the colours are used up
MAX_NAMED = len(LINES) * len(CLASS_COLOURS)


@runtime_checkable
class OverlaidRun(Protocol):
    """A run: its name, the metric next to the loss, the rows of its metrics, and its result, if it is finished."""

    @property
    def name(self) -> str: ...
    @property
    def score(self) -> str: ...
    @property
    def rows(self) -> Sequence[Mapping[str, float]]: ...
    @property
    def result(self) -> Mapping[str, Any] | None: ...


@picture
def save_comparison(runs: Sequence[OverlaidRun], path: Path) -> None:
    """Draw validation loss and score of all runs over the epochs; a dot marks the selected epoch.

    Of more than 16 runs, those that reach the lowest validation loss have a colour and a name.
    """
    ranked = sorted(
        range(len(runs)), key=lambda number: min((row["validation_loss"] for row in runs[number].rows), default=np.inf)
    )
    named = set(ranked[:MAX_NAMED])
    metrics = list(dict.fromkeys(("loss", runs[0].score)))
    with rc_context(STYLE):
        figure = Figure(figsize=(5 * len(metrics) + 2.5, 3.8))
        axes = figure.subplots(1, len(metrics), squeeze=False)[0]
        for ax, metric in zip(axes, metrics, strict=True):
            scale = scale_of(metric)
            for number, run in enumerate([run for index, run in enumerate(runs) if index in named]):
                colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
                line = LINES[number // len(CLASS_COLOURS)]
                epochs = [row["epoch"] for row in run.rows]
                values = [scale * row[f"validation_{metric}"] for row in run.rows]
                ax.plot(
                    epochs, values, line, color=colour, marker=marker(run.rows), linewidth=1.4, label=literal(run.name)
                )
                best = (run.result or {}).get("best_epoch")
                if best:
                    ax.plot(best, values[best - 1], "o", color=colour, markersize=5)
            for number in ranked[MAX_NAMED:]:
                rows = runs[number].rows
                values = [scale * row[f"validation_{metric}"] for row in rows]
                ax.plot([row["epoch"] for row in rows], values, color="0.85", linewidth=0.8, zorder=0)
            ax.set_xlabel("epoch")
            ax.set_ylabel(f"validation {label_of(metric)}")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
        figure.savefig(path, dpi=150)


@picture
def save_sweep(
    results: Sequence[Mapping[str, Any]],
    rows: Sequence[Sequence[Mapping[str, float]]],
    metric: str,
    sign: int,
    path: Path,
) -> None:
    """Draw validation over the epochs for each setting, and the selected epochs against each number that is varied.

    Args:
      results: results of the members, with what they `varied`, and `validation` unless they `diverged`.
      rows: metrics of each member.
      metric: metric to draw.
      sign: 1 if greater is better, -1 if less is.
      path: file to write.
    """
    numbers = [name for name in results[0]["varied"] if _is_varied_number(name, results)]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.5 + 4.2 * len(numbers), 4))
        axes = figure.subplots(1, 1 + len(numbers), squeeze=False, width_ratios=[1.6, *([1] * len(numbers))])[0]
        _draw_settings(axes[0], _members_by_setting(results), rows, metric, sign)
        for ax, name in zip(axes[1:], numbers, strict=True):
            _draw_against(ax, name, [result for result in results if not result["diverged"]], metric)
        for ax in axes:
            ax.set_ylabel(f"validation {label_of(metric)}")
        figure.savefig(path, dpi=150)


def _members_by_setting(results: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Return the numbers of the members of each setting, by its name."""
    settings: dict[str, list[int]] = {}
    for number, result in enumerate(results):
        settings.setdefault(describe_setting(without_seed(result["varied"])), []).append(number)
    return settings


def _is_varied_number(name: str, results: Sequence[Mapping[str, Any]]) -> bool:
    values = [result["varied"][name] for result in results]
    return name != "seed" and not isinstance(values[0], tuple | list) and len(set(values)) > 1


def _draw_settings(
    ax: Axes,
    settings: Mapping[str, Sequence[int]],
    rows: Sequence[Sequence[Mapping[str, float]]],
    metric: str,
    sign: int,
) -> None:
    """Draw the mean over the seeds of each setting, with their range as a band; the best settings have a colour."""
    scale = scale_of(metric)
    num_epochs = max(map(len, rows))
    curves = {}
    for name, numbers in settings.items():
        finished = [rows[number] for number in numbers if len(rows[number]) == num_epochs > 0]
        if finished:
            curves[name] = np.array([[scale * row[f"validation_{metric}"] for row in member] for member in finished])
    ranked = sorted(curves, key=lambda name: max(sign * curves[name].mean(axis=0)), reverse=True)
    for name, values in curves.items():
        rank = ranked.index(name)
        has_colour = rank < len(CLASS_COLOURS) - 1
        colour = CLASS_COLOURS[rank] if has_colour else "0.8"
        epochs = np.arange(1, values.shape[1] + 1)
        label = (name or f"mean of {len(values)} seeds, and their range") if has_colour else None
        ax.plot(epochs, values.mean(axis=0), color=colour, linewidth=1.5, label=label, zorder=-rank)
        ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if curves:
        ax.legend(fontsize=9)


def _draw_against(ax: Axes, name: str, results: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Draw every member's selected epoch against one of the numbers, and their mean."""
    values = np.array([result["varied"][name] for result in results])
    scores = np.array([scale_of(metric) * result["validation"][metric] for result in results])
    ax.plot(values, scores, "o", color=BLUE, markersize=4, alpha=0.6, label="members")
    different = np.unique(values)
    if len(different) < len(values):
        means = [scores[values == value].mean() for value in different]
        ax.plot(different, means, "-", color=ORANGE, label="mean")
        ax.legend(fontsize=9)
    if different.size and different.min() > 0 and different.max() >= 10 * different.min():
        ax.set_xscale("log")
    ax.set_xlabel(name.replace("_", " "))
