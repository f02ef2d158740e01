"""Dropout on the outputs of hidden layers, with a mask of its own for every sample, layer and time step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from seadlif_jax.neurons import Scalar
from seadlif_jax.nn.execution import save_residual


def sample_keys(key: Array | None, batch: int) -> Key[Array, " batch"] | None:
    """Return a key for each sample, from one for the batch, or one for each; None for no dropout."""
    if key is not None and not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)  # of the older kind, `jax.random.PRNGKey`
    return jax.random.split(key, batch) if key is not None and key.ndim == 0 else key


def apply_dropout(
    x: Float[Array, "batch neuron"],
    keys: Key[Array, " batch"] | None,
    rate: Scalar | None,
    layer: int,
    step: Int[Array, ""] | int,
) -> Float[Array, "batch neuron"]:
    """Set outputs to zero with probability `rate`, and scale the others up by `1 / (1 - rate)`.

    The mask follows from the sample's key, the index of the layer and the number of the step alone.
    """
    if keys is None or rate is None:
        return x
    probability = 1 - rate

    def mask(key):
        key = jax.random.fold_in(jax.random.fold_in(key, layer), step)
        return random_mask(key, probability, x.shape[-1])

    return jnp.where(save_residual(jax.vmap(mask)(keys)), x / probability, 0)


def random_mask(key: Key[Array, ""], probability: Scalar, length: int) -> Bool[Array, " length"]:
    """Return entries that are True with a probability, rounded to 1 / 65,536: drawing its bits is what takes time."""
    words = jax.random.bits(key, (-(-length // 2),), jnp.uint32)
    halves = jnp.concatenate([words & 0xFFFF, words >> 16])[:length]
    return halves < jnp.round(jnp.asarray(probability) * 2**16).astype(halves.dtype)
