"""Dropout on the outputs of hidden layers, with a mask of its own for every sample, layer and time step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from seadlif_jax.neurons import Scalar
from seadlif_jax.nn.execution import save_residual
from seadlif_jax.utils.errors import InputError


def sample_keys(key: Array | None, batch: int) -> Key[Array, " batch"] | None:
    """Return a key for each sample, from one for the batch, or one for each; None for no dropout.

    Raises:
      InputError: there is another number of keys.
    """
    if key is None:
        return None
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)  # of the older kind, `jax.random.PRNGKey`
    if key.shape not in ((), (batch,)):
        raise InputError(
            f"dropout_key has shape {key.shape}; it must be one key, or one for each of the {batch} samples"
        )
    return key if key.ndim else jax.random.split(key, batch)


class Dropout(NamedTuple):
    """Dropout of a training pass.

    Attributes:
      keys: of each sample.
      rate: probability that an output is set to zero; the others are scaled up by `1 / (1 - rate)`.
    """

    keys: Key[Array, " batch"]
    rate: Scalar

    def apply(
        self, x: Float[Array, "batch neuron"], layer: int, step: Int[Array, ""] | int
    ) -> Float[Array, "batch neuron"]:
        """Return the outputs of a layer in a step after dropout.

        The mask follows from the sample's key, the index of the layer and the number of the step alone.
        """
        return self._masked(x, self._mask(x.shape[-1], layer, step))

    def apply_to_steps(
        self, x: PyTree[Float[Array, "step batch neuron"]], layer: int, steps: Int[Array, " step"]
    ) -> PyTree[Float[Array, "step batch neuron"]]:
        """Return the same for several steps; of arrays in a tree, with the same mask."""
        features = jax.tree.leaves(x)[0].shape[-1]
        mask = jax.vmap(self._mask, in_axes=(None, None, 0))(features, layer, steps)
        return jax.tree.map(lambda array: self._masked(array, mask), x)

    def _mask(self, features: int, layer: int, step: Int[Array, ""] | int) -> Bool[Array, "batch neuron"]:
        def of_sample(key):
            key = jax.random.fold_in(jax.random.fold_in(key, layer), step)
            return random_mask(key, 1 - self.rate, features)

        return save_residual(jax.vmap(of_sample)(self.keys))

    def _masked(self, x: Float[Array, "*step batch neuron"], mask: Bool[Array, "*step batch neuron"]) -> Array:
        return jnp.where(mask, x / (1 - self.rate), 0)


def random_mask(key: Key[Array, ""], probability: Scalar, length: int) -> Bool[Array, " length"]:
    """Return entries that are True with a probability, rounded to 1 / 65,536: drawing its bits is what takes time."""
    words = jax.random.bits(key, (-(-length // 2),), jnp.uint32)
    halves = jnp.concatenate([words & 0xFFFF, words >> 16])[:length]
    return halves < jnp.round(jnp.asarray(probability) * 2**16).astype(halves.dtype)
