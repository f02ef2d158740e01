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

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = float | Float[Array, ""]
SpikeFn = Callable[[Float[Array, "..."]], Float[Array, "..."]]


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


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _heaviside(shape, v, slope, c):
    del shape, slope, c
    return (v > 0).astype(v.dtype)


@_heaviside.defjvp
def _heaviside_jvp(shape, primals, tangents):
    v, slope, c = primals
    # The surrogate's own settings are not trained: their tangents are dropped.
    derivative = (c * slope / 2 * shape(slope * v)).astype(v.dtype)
    return _heaviside(shape, v, slope, c), derivative * tangents[0]


def _spike(shape, v, *, slope, c):
    return _heaviside(shape, jnp.asarray(v), slope, c)


_SPIKES = {name: functools.partial(_spike, shape) for name, shape in SURROGATES.items()}


def spike_function(surrogate: str = "exponential", slope: Scalar = 5.0, c: Scalar = 0.4) -> SpikeFn:
    """Returns `v -> H(v)`, a 0/1 array like `v`, with the named surrogate gradient.

    The function is a pytree of `slope` and `c`, so it can be handed to transformed functions as an argument.

    Args:
      surrogate: a name in `SURROGATES`.
      slope: steepness, in 1 / (units of the membrane potential). May be traced.
      c: the surrogate's area, which scales the gradient. May be traced.

    Raises:
      ValueError: the surrogate is unknown.

    Example:
      >>> spike = spike_function(slope=5.0, c=0.4)
      >>> float(jax.grad(spike)(0.0))
      1.0
    """
    if surrogate not in SURROGATES:
        raise ValueError(f"unknown surrogate {surrogate!r}; choose one of {', '.join(SURROGATES)}")
    return jax.tree_util.Partial(_SPIKES[surrogate], slope=slope, c=c)
