"""A task of one's own: estimate a number from a sequence. Here, the mean rate of random events.

python train.py --config=examples/own_task.py
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from seadlif_jax.config import ConfigError, base_config
from seadlif_jax.data import Dataset, Split
from seadlif_jax.losses import Sums
from seadlif_jax.tasks import Selection, Task, refuse_classification_fields


@dataclasses.dataclass(frozen=True)
class Regression(Task):
    """A number for each sample, the mean of the readout over the steps whose block is not 0.

    The loss is its squared error; the metric, by which the best epoch is selected, its absolute error.
    """

    scale: float

    metric = "absolute_error"
    metric_sign = -1
    selection = Selection("absolute_error", -1)
    curves = ("loss", "absolute_error")
    variable_length = True
    fields = ("scale",)

    @classmethod
    def from_config(cls, config):
        refuse_classification_fields(config)
        if not config.loss.scale > 0:
            raise ConfigError(f"config.loss.scale = {config.loss.scale!r}: it must be above 0")
        return cls(config.loss.scale)

    def num_outputs(self, channels):
        return 1

    def sums(self, outputs, block_index, targets):
        counted = block_index != 0
        num_steps = jnp.sum(counted, axis=1)
        estimates = jnp.sum(jnp.where(counted, outputs[..., 0], 0), axis=1) / jnp.maximum(num_steps, 1)
        # A sample without steps fills up the last batch, and counts for nothing.
        errors = jnp.where(num_steps > 0, self.scale * estimates - targets[:, 0], 0)
        num_samples = jnp.sum(num_steps > 0)
        return Sums(jnp.sum(errors**2), num_samples, jnp.sum(jnp.abs(errors)), num_samples)

    def loss_terms(self, block_index, targets):
        return jnp.any(block_index != 0, axis=1).astype(jnp.int32)

    def target_problem(self, inputs, targets, block_index):
        if targets.shape != (len(inputs), 1):
            return f"targets have shape {targets.shape}; they must be {(len(inputs), 1)}, a number for each sample"
        return None


def load(config):
    """Return samples of random events, each with a rate of its own; replace this by reading your files."""
    rng = np.random.default_rng(config.data.seed)
    rates = rng.uniform(0.05, 0.5, 500).astype(np.float32)
    samples = Split(
        inputs=rng.poisson(rates[:, None, None], (500, 50, 20)).astype(np.uint8),
        targets=rates[:, None],
        block_index=np.ones((500, 50), np.uint8),
    )
    train, validation, test = (samples.take(slice(*ends)) for ends in ((0, 300), (300, 400), (400, 500)))
    return Dataset(train, validation, test, "best epoch on 100 samples, generated for this")


def get_config():
    config = base_config().unlock()
    config.task = "own_task:Regression"  # this file
    config.loss.scale = 1.0
    config.data.loader = "own_task:load"
    config.num_epochs, config.batch_size = 10, 32
    config.model.hidden = (32,)
    return config.lock()
