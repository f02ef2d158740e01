"""Learning curves of several runs in one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.plots.style import CLASS_COLOURS, STYLE, label_of, literal, marker, picture, scale_of

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
