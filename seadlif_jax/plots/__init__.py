"""Pictures: of a run, of several, and of what is inside a network. Each function leaves one PNG file."""

from seadlif_jax.plots import _matplotlib  # noqa: F401  before all other imports of matplotlib
from seadlif_jax.plots.comparison import save_comparison
from seadlif_jax.plots.confusion import save_confusion
from seadlif_jax.plots.curves import save_curves
from seadlif_jax.plots.forecast import save_forecast, save_forecast_error
from seadlif_jax.plots.inside import save_gradients, save_parameters, save_training
from seadlif_jax.plots.raster import save_raster
from seadlif_jax.plots.robustness import save_robustness
from seadlif_jax.plots.style import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    YELLOW,
)
from seadlif_jax.plots.sweep import save_sweep

__all__ = [
    "BLACK",
    "BLUE",
    "CLASS_COLOURS",
    "GREEN",
    "ORANGE",
    "PURPLE",
    "SKY",
    "STYLE",
    "VERMILION",
    "YELLOW",
    "save_comparison",
    "save_confusion",
    "save_curves",
    "save_forecast",
    "save_forecast_error",
    "save_gradients",
    "save_parameters",
    "save_raster",
    "save_robustness",
    "save_sweep",
    "save_training",
]
