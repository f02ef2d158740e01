"""Learning curves of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.plots.style import BLACK, BLUE, ORANGE, STYLE, marker, picture


@picture
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
