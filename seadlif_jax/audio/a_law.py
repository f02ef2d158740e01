"""Sound in levels that are closer to each other where it is quiet: the A-law of telephony (ITU-T G.711).

    y = sign(x) A |x| / (1 + ln A)               |x| < 1 / A             A = 87.6
    y = sign(x) (1 + ln(A |x|)) / (1 + ln A)     1 / A <= |x| <= 1

`y` in [-1, 1] is divided into equal levels.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from seadlif_jax.neurons import Scalar

A = 87.6
_SCALE = 1 + math.log(A)


def compress(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return `y` of `x` in [-1, 1].

    Example:
      >>> compress(jnp.array([-1.0, 0.0, 0.01, 0.1])).round(3).tolist()
      [-1.0, 0.0, 0.160..., 0.579...]
    """
    size = jnp.abs(x)
    loud = (1 + jnp.log(A * jnp.maximum(size, 1 / A))) / _SCALE
    return jnp.where(size < 1 / A, A * x / _SCALE, jnp.sign(x) * loud)


def expand(y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return `x` of `y` in [-1, 1]: the inverse of `compress`.

    Example:
      >>> expand(compress(jnp.array([-1.0, 0.01, 0.1]))).round(3).tolist()
      [-1.0, 0.01..., 0.1...]
    """
    size = jnp.abs(y)
    loud = jnp.exp(_SCALE * jnp.maximum(size, 1 / _SCALE) - 1) / A
    return jnp.where(size < 1 / _SCALE, _SCALE * y / A, jnp.sign(y) * loud)


def level_of(x: Float[Array, "*shape"], num_levels: int) -> Int[Array, "*shape"]:
    """Return the level of `x`, from 0 to `num_levels - 1`; beyond [-1, 1], the first or the last one."""
    levels = jnp.round((compress(x) + 1) / 2 * (num_levels - 1)).astype(int)
    return jnp.clip(levels, 0, num_levels - 1)


def expected_sound(logits: Float[Array, "*shape level"], temperature: Scalar = 1.0) -> Float[Array, "*shape"]:
    """Return the sound of the mean level: `expand(sum_k softmax(logits / temperature)_k y_k)`, with `y_k` of level k.

    Example:
      >>> logits = 50 * jax.nn.one_hot(level_of(jnp.array([0.2, -0.7]), 256), 256)
      >>> print(expected_sound(logits).round(1))
      [ 0.2 -0.7]
    """
    levels = jnp.linspace(-1, 1, logits.shape[-1])
    # Not by a product of matrices, which some devices round to fewer digits than the levels have.
    return expand(jnp.sum(jax.nn.softmax(logits / temperature) * levels, axis=-1))
