"""Training with weights as they are on a device: rounded to 8 bits, with a scale for each neuron.

    W_q = round(W / s) s        s = max |W| / 127, of the weights of a neuron

The network computes with `W_q`; the gradient for it is given to `W`, as if nothing were rounded (straight-through
estimator). States are not rounded in training.

Source: Jacob et al. (2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference"), without ranges of activations.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seadlif_jax.nn.layer import Weights

LEVELS = 127


def rounded(weights: Weights) -> Weights:
    """Return the weights of a layer, rounded but for the bias; the gradient goes through as it is."""
    recurrent = weights.recurrent_kernel
    return weights._replace(
        kernel=_rounded(weights.kernel), recurrent_kernel=None if recurrent is None else _rounded(recurrent)
    )


def _rounded(kernel: Float[Array, "input neuron"]) -> Float[Array, "input neuron"]:
    scale = jnp.max(jnp.abs(kernel), axis=0) / LEVELS
    rounded = jnp.round(kernel / jnp.where(scale > 0, scale, 1)) * scale
    return kernel + jax.lax.stop_gradient(rounded - kernel)
