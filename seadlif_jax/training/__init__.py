"""Training: from a config to a finished run.

from seadlif_jax.training import fit
result = fit(config, "runs/mine")
"""

from seadlif_jax.training.divergence import DivergenceError
from seadlif_jax.training.fitting import fit
from seadlif_jax.training.state import TrainingHyperparameters, TrainState
from seadlif_jax.training.trainer import Trainer

__all__ = ["DivergenceError", "TrainState", "Trainer", "TrainingHyperparameters", "fit"]
