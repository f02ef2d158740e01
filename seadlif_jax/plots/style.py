"""What all pictures share. Colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart."""

from collections.abc import Sized
from typing import Any

import numpy as np

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
CLASS_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK)
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def marker(rows: Sized) -> str | None:
    """Of a line over epochs: a single epoch is a dot."""
    return "o" if len(rows) == 1 else None


def time_axis(steps: np.ndarray, step_ms: float | None) -> tuple[np.ndarray, str]:
    """Times and label of an axis in ms, or in steps where these stand for no time."""
    return (steps, "time (steps)") if step_ms is None else (step_ms * steps, "time (ms)")
