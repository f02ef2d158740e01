"""Learning curves of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.plots.style import BLACK, BLUE, ORANGE, STYLE, marker, picture


@picture
def save_curves(rows: Sequence[Mapping[str, float]], best_epoch: int, panels: Sequence[str], path: Path) -> None:
    """Draw metrics over the epochs, of training and validation, with the selected epoch marked.

    Args:
      rows: metrics of the epochs, as in metrics.csv.
      best_epoch: number of the selected epoch, from 1.
      panels: metrics to draw, one a panel.
      path: path of the picture.
    """
    epochs = [row["epoch"] for row in rows]
    with rc_context(STYLE):
        figure = Figure(figsize=(5 * len(panels), 3.4))
        axes = figure.subplots(1, len(panels), squeeze=False)
        for ax, metric in zip(axes[0], panels, strict=True):
            scale = 100 if metric == "accuracy" else 1
            for split, colour in (("train", ORANGE), ("validation", BLUE)):
                ax.plot(
                    epochs,
                    [scale * row[f"{split}_{metric}"] for row in rows],
                    color=colour,
                    marker=marker(rows),
                    label=split,
                )
            best = scale * rows[best_epoch - 1][f"validation_{metric}"]
            unit = " %" if metric == "accuracy" else ""
            ax.plot(best_epoch, best, "o", color=BLACK, label=f"selected: epoch {best_epoch}, {best:.4g}{unit}")
            ax.set_xlabel("epoch")
            ax.set_ylabel("accuracy (%)" if metric == "accuracy" else metric)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.legend()
        figure.savefig(path, dpi=150)
