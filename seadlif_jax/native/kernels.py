"""The functions of the kernel on arrays of JAX. Everything is time-major.

A layer's neuron names its kernel in `kernel`. The carry of such a neuron begins with `u^`, which is also its residual,
and its coefficients with the decay alpha.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from seadlif_jax.native.compiler import NativeError, load_library
from seadlif_jax.neurons import SURROGATES, Neuron, Surrogate
from seadlif_jax.neurons.lif import alpha_bar

KERNELS = ("lif", "ef_adlif", "se_adlif")  # in the order of `Kind` in layer.cc
SHAPES = tuple(SURROGATES)  # in the order of `SurrogateShape` in layer.cc
EVENTS = ("uint8", "int8", "int16", "int32")
REALS = {"float32": "float", "float64": "double"}
TOO_WIDE = 2**16  # indices are of 16 bits


def check_usable(neuron: Neuron, precision: str) -> None:
    """Raise a `NativeError` unless layers of this neuron can be computed here."""
    if neuron.kernel is None:
        raise NativeError(
            f"{type(neuron).__name__} has no native kernel; the neurons that have one: {', '.join(KERNELS)}"
        )
    if type(getattr(neuron, "surrogate", None)) is not Surrogate:
        raise NativeError("the native kernel has the surrogate gradients of the library only")
    if jax.default_backend() != "cpu":
        raise NativeError(f"the native kernel is for CPUs, and JAX uses the backend {jax.default_backend()}")
    if precision == "bfloat16":
        raise NativeError("the native kernel does not round to bfloat16")
    _register(jnp.zeros(0).dtype.name)


@functools.cache
def _register(dtype: str) -> None:
    library = load_library(REALS[dtype])
    for name in ("forward", "backward", "sum_outer_products"):
        handler = jax.ffi.pycapsule(getattr(library, f"seadlif_{name}"))
        jax.ffi.register_ffi_target(f"seadlif_{name}_{dtype}", handler, platform="cpu")


def forward(layer: Any, first: Any, inputs: Num[Array, "time batch channel"]) -> tuple[Any, Array]:
    """Return the carry after the last step, and `u^` after each."""
    u_hat, w = _pair(first)
    weights = layer.weights
    if max(weights.kernel.shape) >= TOO_WIDE:
        raise NativeError(f"the native kernel is for fewer than {TOO_WIDE:,} channels and neurons a layer")
    u_hats, w = _call(
        "forward",
        (_like(u_hat, (len(inputs), *u_hat.shape)), _like(u_hat, w.shape)),
        u_hat.dtype,
        _sparse(inputs, u_hat.dtype),
        *_coefficients(layer),
        layer.neuron.threshold,
        weights.kernel,
        weights.bias,
        _recurrent_kernel(layer),
        u_hat,
        w,
        kind=KERNELS.index(layer.neuron.kernel),
    )
    return _carry(first, u_hats[-1], w), u_hats


def backward(layer: Any, first: Any, u_hats: Array, last_bar: Any, output_bars: Array) -> tuple[Array, Any, Any]:
    """Return the gradients for the currents of all steps, for the coefficients, and for `first`."""
    (u_hat, w), (u_hat_bar, w_bar) = _pair(first), _pair(last_bar)
    coefficients, surrogate = _coefficients(layer), layer.neuron.surrogate
    current_bars, *sums, u_hat_bar, w_bar = _call(
        "backward",
        [_like(u_hat, array.shape) for array in (u_hats, *coefficients, u_hat, w)],
        u_hat.dtype,
        [],
        *coefficients,
        layer.neuron.threshold,
        surrogate.slope,
        surrogate.c,
        _recurrent_kernel(layer),
        u_hat,
        w,
        u_hats,
        u_hat_bar,
        w_bar,
        output_bars,
        kind=KERNELS.index(layer.neuron.kernel),
        surrogate=SHAPES.index(surrogate.shape),
    )
    bars = type(layer.coefficients)(*sums[: len(layer.coefficients)])
    bars = bars._replace(alpha=alpha_bar(layer.coefficients.alpha, bars.alpha))
    return current_bars, bars, _carry(first, u_hat_bar, w_bar)


def sum_outer_products(
    x: Num[Array, "time batch source"], y: Float[Array, "time batch neuron"]
) -> Float[Array, "source neuron"]:
    """Return `sum_tb x_tb^T y_tb`, over the elements of `x` that are not zero."""
    return _call("sum_outer_products", _like(y, (x.shape[-1], y.shape[-1])), y.dtype, _sparse(x, y.dtype), y)


def _call(name: str, results: Any, dtype: Any, sparse: Sequence[Array], *arguments: Any, **attributes: int) -> Any:
    """Call a function of the kernel: with `sparse` as it is, and all other arguments as arrays of type `dtype`."""
    _register(dtype.name)
    call = jax.ffi.ffi_call(f"seadlif_{name}_{dtype.name}", results, vmap_method="sequential")
    return call(*sparse, *(jnp.asarray(x, dtype) for x in arguments), **attributes)


def _sparse(x: Array, dtype: Any) -> list[Array]:
    """Return the matrix whose zeros are skipped: counts of events as they are, all else of type `dtype`."""
    return [x if x.dtype.name in EVENTS else x.astype(dtype)]


def _like(array: Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, array.dtype)


# LIF neurons have no adaptation: what the kernel's functions take and return for it is empty.


def _pair(carry: Any) -> tuple[Array, Array]:
    u_hat, *w = jax.tree.leaves(carry)
    return u_hat, *(w or [jnp.zeros(0, u_hat.dtype)])


def _carry(like: Any, u_hat: Array, w: Array) -> Any:
    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(structure, (u_hat, w)[: len(leaves)])


def _coefficients(layer: Any) -> list[Array]:
    coefficients = list(layer.coefficients)
    return coefficients + [jnp.zeros(0)] * (4 - len(coefficients))


def _recurrent_kernel(layer: Any) -> Array:
    kernel = layer.weights.recurrent_kernel
    return jnp.zeros((0, layer.features)) if kernel is None else kernel
