"""Accuracy under shifts of the input."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from seadlif_jax.plots.style import BLACK, BLUE, CLASS_COLOURS, ORANGE, STYLE, picture


@runtime_checkable
class ShiftAccuracy(Protocol):
    """Accuracy under one shift of one level: mean and standard deviation over the draws, as fractions."""

    @property
    def shift(self) -> str: ...
    @property
    def level(self) -> float: ...
    @property
    def draws(self) -> int: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def accuracy_std(self) -> float | None: ...


@picture
def save_robustness(scores: Sequence[ShiftAccuracy], path: Path) -> None:
    """Draw accuracy against level, one line per shift with the standard deviation as a band.

    Args:
      scores: one per shift and level; the first of every shift is that of level 0, which is marked.
      path: file to write.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6))
        ax = figure.subplots()
        clean = 100 * scores[0].accuracy
        ax.axhline(clean, color=BLACK, linewidth=0.8, linestyle=":", label=f"without shift: {clean:.2f} %")
        names = dict.fromkeys(score.shift for score in scores)  # in order, each once
        for name, colour in zip(names, (ORANGE, BLUE, *CLASS_COLOURS[2:]), strict=False):
            curve = [score for score in scores if score.shift == name]
            levels = [score.level for score in curve]
            mean = np.array([100 * score.accuracy for score in curve])
            draws = curve[0].draws
            label = f"{name} ({draws} draws, +- standard deviation)" if draws > 1 else name
            ax.plot(levels, mean, "o-", color=colour, markersize=4, label=label)
            std = np.array([100 * (score.accuracy_std or 0) for score in curve])
            ax.fill_between(levels, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0)
        ax.set_xlabel("shift (mean added events per channel and step)")
        ax.set_ylabel("test accuracy (%)")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        figure.savefig(path, dpi=150)
