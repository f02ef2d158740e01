"""Colours, settings and labels that all pictures share.

The colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart.
"""

import functools
from collections.abc import Callable, Sized
from typing import Any

import matplotlib
import numpy as np

from seadlif_jax.utils.progress import say

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
CLASS_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK)
# Settings that do not change the look of a picture, and stay the user's.
NOT_STYLE = (
    "backend",
    "date.epoch",
    "docstring",
    "figure.hooks",
    "interactive",
    "timezone",
    "tk.",
    "toolbar",
    "webagg",
)
# All others are set: settings that users have made for their own pictures (LaTeX, sizes, formats) may not fit these.
STYLE: dict[Any, Any] = {
    **{name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith(NOT_STYLE)},
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def picture(save: Callable[..., None]) -> Callable[..., None]:
    """Make a failure of `save`, whose last argument is a path, a warning: a picture must never cost a result."""

    @functools.wraps(save)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            save(*args, **kwargs)
        except Exception as error:  # matplotlib, fonts and the disk raise many kinds
            reason = " ".join(str(error).split()) or type(error).__name__
            say(f"warning: {args[-1]} could not be drawn ({reason})")

    return guarded


def literal(text: str) -> str:
    """Return a text of the user's so that it is drawn as it is: matplotlib reads text between `$` as math."""
    return text.replace("$", r"\$")


def marker(rows: Sized) -> str | None:
    """Return the marker of a curve over epochs: a single epoch is drawn as a dot."""
    return "o" if len(rows) == 1 else None


def scale_of(metric: str) -> int:
    """Return the factor by which a metric is drawn: accuracies are in percent."""
    return 100 if metric.endswith("accuracy") else 1


def label_of(metric: str) -> str:
    """Return the label of an axis for a metric."""
    return f"{metric} (%)" if metric.endswith("accuracy") else metric


def time_axis(steps: np.ndarray, step_ms: float | None) -> tuple[np.ndarray, str]:
    """Return the times and the label of an axis in ms, or in steps if they stand for no time."""
    return (steps, "time (steps)") if step_ms is None else (step_ms * steps, "time (ms)")
