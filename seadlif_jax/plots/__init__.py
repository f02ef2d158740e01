"""Pictures of a run, of several runs, and of a network at work. Each function writes one PNG file."""

from seadlif_jax.plots import _matplotlib  # noqa: F401  before all other imports of matplotlib
from seadlif_jax.plots.compression_panels import save_compression
from seadlif_jax.plots.confusion_matrix import save_confusion
from seadlif_jax.plots.forecast_curves import save_forecast, save_forecast_error
from seadlif_jax.plots.gradient_curves import save_gradients
from seadlif_jax.plots.learning_curves import save_curves, save_training
from seadlif_jax.plots.parameter_histograms import save_parameters
from seadlif_jax.plots.raster import save_raster
from seadlif_jax.plots.several_runs import save_comparison, save_sweep
from seadlif_jax.plots.shift_curves import save_robustness
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
    label_of,
    scale_of,
)

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
    "label_of",
    "save_comparison",
    "save_compression",
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
    "scale_of",
]
