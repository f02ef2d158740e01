"""The confusion matrix of a classifier."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seadlif_jax.plots.style import STYLE, picture

MAX_NUMBERED = 12  # classes whose cells have room for a number


@picture
def save_confusion(confusion: np.ndarray, title: str, path: Path) -> None:
    """Draw the percentage of every true class's targets that is predicted as each class.

    Args:
      confusion: counts `[true class, predicted class]`.
      title: title of the picture.
      path: file to write.
    """
    classes = len(confusion)
    with np.errstate(invalid="ignore"):  # a class without targets has no row
        percent = 100 * confusion / confusion.sum(axis=1, keepdims=True)
    size = 3.2 + 0.32 * min(classes, 20)
    with rc_context(STYLE):
        figure = Figure(figsize=(size + 1, size))
        ax = figure.subplots()
        image = ax.imshow(percent, cmap="cividis", vmin=0, vmax=100)
        figure.colorbar(image, ax=ax, label="targets of a class (%)", shrink=0.8)
        if classes <= MAX_NUMBERED:
            for (true, predicted), value in np.ndenumerate(percent):
                if confusion[true, predicted]:
                    colour = "black" if value > 60 else "white"
                    ax.text(predicted, true, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8)
            ax.set_xticks(range(classes))
            ax.set_yticks(range(classes))
        else:
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("predicted class")
        ax.set_ylabel("true class")
        ax.set_title(title)
        figure.savefig(path, dpi=150)
