"""The spike function and its surrogate gradients.

A neuron spikes when its membrane potential exceeds the threshold, `z = H(v)` with `v = u - threshold` and `H(0) = 0`.
The step has no useful derivative, so the backward pass uses

    dz/dv = c * slope / 2 * shape(slope * v)

Every shape has `shape(0) = 1` and integral 2. The surrogate's peak is therefore `c * slope / 2` and its area `c`,
whichever shape is chosen: shapes can be compared at equal `slope` and `c`.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from seadlif_jax.utils.errors import InputError

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


# Of the next two: height and width of the negative side lobes, as multiples of those of the central Gaussian.
LOBE_HEIGHT, LOBE_WIDTH = 0.15, 6.0
# Standard deviations of the central Gaussian with which `shape(0) = 1` at an integral of 2.
_UNIT = 2 / (1 - LOBE_HEIGHT) / math.sqrt(2 * math.pi)
SIGMAS: Mapping[str, float] = MappingProxyType(
    {
        "double_gaussian": _UNIT * (1 + LOBE_HEIGHT - 2 * LOBE_HEIGHT / LOBE_WIDTH),
        "multi_gaussian": _UNIT * (1 + LOBE_HEIGHT - 2 * LOBE_HEIGHT / LOBE_WIDTH * math.exp(-1 / (2 * LOBE_WIDTH**2))),
    }
)


def double_gaussian(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`(1.15 N(x; 0, s) - 0.3 N(x; 0, 6 s)) / 0.425`, `s` = 1.03: a wide negative Gaussian (Higuchi et al., 2024)."""
    sigma = SIGMAS["double_gaussian"]
    lobes = 2 * _normal(x, 0, LOBE_WIDTH * sigma)
    return _UNIT_AREA * ((1 + LOBE_HEIGHT) * _normal(x, 0, sigma) - LOBE_HEIGHT * lobes)


def multi_gaussian(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`(1.15 N(x; 0, s) - 0.15 N(x; s, 6 s) - 0.15 N(x; -s, 6 s)) / 0.425`, `s` = 1.03 (Yin et al., 2021)."""
    sigma = SIGMAS["multi_gaussian"]
    lobes = _normal(x, sigma, LOBE_WIDTH * sigma) + _normal(x, -sigma, LOBE_WIDTH * sigma)
    return _UNIT_AREA * ((1 + LOBE_HEIGHT) * _normal(x, 0, sigma) - LOBE_HEIGHT * lobes)


_UNIT_AREA = 2 / (1 - LOBE_HEIGHT)  # the Gaussians have an area of 1 + 0.15 - 2 * 0.15


def _normal(x: Float[Array, "..."], mean: float, sigma: float) -> Float[Array, "..."]:
    """Return the density of a normal distribution."""
    return jnp.exp(-(((x - mean) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))


SURROGATES: Mapping[str, Callable] = MappingProxyType(
    {
        shape.__name__: shape
        for shape in (exponential, fast_sigmoid, arctan, triangular, boxcar, double_gaussian, multi_gaussian)
    }
)
"""Shapes of the surrogate gradient, by name: `exponential`, `fast_sigmoid`, `arctan`, `triangular`, `boxcar`,
`double_gaussian`, `multi_gaussian`."""


class Surrogate(struct.PyTreeNode):
    """The spike function `v -> H(v)`, with a surrogate gradient: a subclass may define another `derivative`.

    In a subclass, fields that are no numbers are declared by `flax.struct.field(pytree_node=False)`.

    Attributes:
      shape: a name in `SURROGATES`.
      slope: steepness, in 1 / (units of the membrane potential). May be traced.
      c: area of the surrogate, which scales the gradient. May be traced.

    Raises:
      InputError: the shape is unknown.

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
            raise InputError(f"unknown surrogate gradient {self.shape!r}; choose one of {', '.join(SURROGATES)}")

    def __call__(self, v: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
        """Return the spikes: 1 where `v > 0`, else 0, of the type of `v`."""
        return _heaviside(self, jnp.asarray(v))

    def derivative(self, v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the surrogate derivative `dz/dv`."""
        return (self.c * self.slope / 2 * SURROGATES[self.shape](self.slope * v)).astype(v.dtype)


@jax.custom_jvp
def _heaviside(surrogate, v):
    del surrogate
    return (v > 0).astype(v.dtype)


@_heaviside.defjvp
def _heaviside_jvp(primals, tangents):
    surrogate, v = primals
    # Slope and area are not trained: their tangents are dropped.
    return _heaviside(surrogate, v), surrogate.derivative(v) * tangents[1]
