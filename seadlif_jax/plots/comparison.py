"""Several runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.plots.style import CLASS_COLOURS, STYLE

if TYPE_CHECKING:
    from seadlif_jax.comparison import Compared

LINES = ("-", "--", ":", "-.")  # when the colours are used up


def save_comparison(runs: Sequence["Compared"], path: Path) -> None:
    """Validation loss and score of all runs over the epochs; a dot marks the selected one."""
    metrics = list(dict.fromkeys(("loss", runs[0].score)))
    with rc_context(STYLE):
        figure = Figure(figsize=(5 * len(metrics) + 2.5, 3.8))
        axes = figure.subplots(1, len(metrics), squeeze=False)[0]
        for ax, metric in zip(axes, metrics, strict=True):
            scale = 100 if metric == "accuracy" else 1
            for number, run in enumerate(runs):
                colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
                line = LINES[number // len(CLASS_COLOURS) % len(LINES)]
                epochs = [row["epoch"] for row in run.rows]
                values = [scale * row[f"validation_{metric}"] for row in run.rows]
                ax.plot(epochs, values, line, color=colour, linewidth=1.4, label=run.name)
                best = (run.result or {}).get("best_epoch")
                if best:
                    ax.plot(best, values[best - 1], "o", color=colour, markersize=5)
            ax.set_xlabel("epoch")
            ax.set_ylabel("validation accuracy (%)" if metric == "accuracy" else f"validation {metric}")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
        figure.savefig(path, dpi=150)
