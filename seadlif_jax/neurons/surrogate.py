"""The spike function and its surrogate gradients.

A neuron spikes when its membrane potential exceeds the threshold, `z = H(v)` with `v = u - threshold` and `H(0) = 0`.
The step has no useful derivative, so the backward pass uses

    dz/dv = c * slope / 2 * shape(slope * v)

Every shape has `shape(0) = 1` and integral 2. The surrogate's peak is therefore `c * slope / 2` and its area `c`,
whichever shape is chosen: shapes can be compared at equal `slope` and `c`.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

Scalar = float | Float[Array, ""]
Number = Any  # field of a pytree: a float, an array in its place, or any leaf that JAX puts there


def exponential(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`exp(-|x|)`: SLAYER (Shrestha & Orchard, 2018), the paper's choice."""
    return jnp.exp(-jnp.abs(x))


def fast_sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`1 / (1 + |x|)^2`: SuperSpike (Zenke & Ganguli, 2018)."""
    return 1 / (1 + jnp.abs(x)) ** 2


def arctan(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`1 / (1 + (pi x / 2)^2)`: the derivative of a scaled arc tangent (Fang et al., 2021)."""
    return 1 / (1 + (jnp.pi / 2 * x) ** 2)


def triangular(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`max(0, 1 - |x| / 2)`: piecewise linear (Bellec et al., 2018)."""
    return jnp.maximum(0, 1 - jnp.abs(x) / 2)


def boxcar(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`1` where `|x| < 1`, else `0`: the straight-through window."""
    return (jnp.abs(x) < 1).astype(x.dtype)


SURROGATES: Mapping[str, Callable] = MappingProxyType(
    {shape.__name__: shape for shape in (exponential, fast_sigmoid, arctan, triangular, boxcar)}
)
"""Shapes of the surrogate gradient, by name: `exponential`, `fast_sigmoid`, `arctan`, `triangular`, `boxcar`."""


class Surrogate(struct.PyTreeNode):
    """The spike function `v -> H(v)`, with a surrogate gradient.

    Attributes:
      shape: a name in `SURROGATES`.
      slope: steepness, in 1 / (units of the membrane potential). May be traced.
      c: area of the surrogate, which scales the gradient. May be traced.

    Raises:
      ValueError: the shape is unknown.

    Example:
      >>> surrogate = Surrogate(slope=5.0, c=0.4)
      >>> float(surrogate(0.1)), float(jax.grad(surrogate)(0.0))
      (1.0, 1.0)
    """

    shape: str = struct.field(pytree_node=False, default="exponential")
    slope: Number = 5.0
    c: Number = 0.4

    def __post_init__(self):
        if self.shape not in SURROGATES:
            raise ValueError(f"unknown surrogate gradient {self.shape!r}; choose one of {', '.join(SURROGATES)}")

    def __call__(self, v: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
        """Return the spikes: 1 where `v > 0`, else 0, of the type of `v`."""
        return _heaviside(self.shape, jnp.asarray(v), self.slope, self.c)

    def derivative(self, v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the surrogate derivative `dz/dv`."""
        return (self.c * self.slope / 2 * SURROGATES[self.shape](self.slope * v)).astype(v.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _heaviside(shape, v, slope, c):
    del shape, slope, c
    return (v > 0).astype(v.dtype)


@_heaviside.defjvp
def _heaviside_jvp(shape, primals, tangents):
    v, slope, c = primals
    # Slope and area are not trained: their tangents are dropped.
    return _heaviside(shape, v, slope, c), Surrogate(shape, slope, c).derivative(v) * tangents[0]
