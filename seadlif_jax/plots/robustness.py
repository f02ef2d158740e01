"""Accuracy under shifts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from seadlif_jax.plots.style import BLACK, BLUE, CLASS_COLOURS, ORANGE, STYLE, picture


@picture
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
