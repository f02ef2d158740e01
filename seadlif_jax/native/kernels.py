"""A network over whole sequences by the kernel, and its gradient. Everything is time-major.

A neuron names its kernel in `kernel`. Its carry is zero before the first step, and its residual is `u^`. The
coefficients begin with the decay alpha.
"""

import functools
import threading
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from seadlif_jax.native.compiler import NativeError, load_library
from seadlif_jax.neurons import SURROGATES, Neuron, Surrogate
from seadlif_jax.neurons.lif import alpha_bar
from seadlif_jax.neurons.neuron import first_order
from seadlif_jax.utils.processes import available_cores

KERNELS = ("lif", "ef_adlif", "se_adlif", "leaky_integrator")  # in the order of `Kind` in layer.h
SHAPES = tuple(SURROGATES)  # in the order of `SurrogateShape` in surrogate.h
EVENTS = ("uint8", "int8", "int16", "int32")
REALS = {"float32": "float", "float64": "double"}
_registering = threading.Lock()
EMPTY = (0,)  # the shape of what is not needed


def check_usable(neuron: Neuron, precision: str, plain_scan: bool, all_have_outputs: bool = True) -> None:
    """Raise a `NativeError` unless layers of this neuron can be computed here.

    Args:
      neuron: of the layers.
      precision: of the matrix products; see `seadlif_jax.nn.Execution`.
      plain_scan: see there.
      all_have_outputs: whether the outputs of all neurons of a layer leave it.
    """
    if plain_scan:
        raise NativeError("the native kernel has no plain scan; unset plain_scan")
    if not all_have_outputs:
        raise NativeError("the native kernel has no layers of which only some neurons have outputs; unset num_outputs")
    if neuron.kernel is None:
        spiking = ", ".join(name for name in KERNELS if name != "leaky_integrator")
        raise NativeError(f"{type(neuron).__name__} has no native kernel; the neurons that have one: {spiking}")
    if type(getattr(neuron, "surrogate", Surrogate())) is not Surrogate:
        raise NativeError("the native kernel has the surrogate gradients of the library only")
    if getattr(neuron, "train_threshold", False) or getattr(neuron, "train_rest", False):
        raise NativeError("the native kernel has no trained thresholds and resting potentials")
    if jax.default_backend() != "cpu":
        raise NativeError(f"the native kernel is for CPUs, and JAX uses the backend {jax.default_backend()}")
    if precision == "bfloat16":
        raise NativeError("the native kernel does not round to bfloat16")
    _register(jnp.zeros(0).dtype.name)


def _register(dtype: str) -> None:
    with _registering:
        _register_once(dtype)


@functools.cache
def _register_once(dtype: str) -> None:
    library = load_library(REALS[dtype])
    for name in ("forward", "backward"):
        handler = jax.ffi.pycapsule(getattr(library, f"seadlif_{name}"))
        jax.ffi.register_ffi_target(f"seadlif_{name}_{dtype}", handler, platform="cpu")


def run_layers(
    layers: Sequence[Any], inputs: Num[Array, "time batch channel"], dropout: Any, with_activity: bool
) -> tuple[Float[Array, "time batch neuron"], tuple[Float[Array, "time batch"], ...]]:
    """Return the outputs of the last layer, each fed with those of the one before, from the initial state.

    Integer inputs, such as event counts, get no gradient; nor do the hyperparameters of neurons and dropout.

    Args:
      layers: from first to last.
      inputs: of the first layer.
      dropout: a `Dropout` of `seadlif_jax.nn`, on what a layer gives to the next; or None.
      with_activity: also return the fraction of neurons that spike, of each layer of spiking neurons; otherwise `()`.

    Raises:
      NativeError: the layers cannot be computed here; or the keys of `dropout` are of another generator than JAX's
        default, threefry2x32.
    """
    for index, layer in enumerate(layers):
        execution = layer.execution
        check_usable(layer.neuron, execution.precision, execution.plain_scan, layer.num_outputs is None)
        if not layer.neuron.spiking and (index < len(layers) - 1 or layer.weights.recurrent_kernel is not None):
            raise NativeError("in the native kernel, only the last layer may not spike, and it cannot be recurrent")
    return _run(tuple(layers), inputs, dropout, with_activity)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _run(layers, inputs, dropout, with_activity):
    return _forward(layers, inputs, dropout, with_activity, for_gradient=False)[0]


def _run_forward(layers, inputs, dropout, with_activity):
    results, u_hats, masks = _forward(layers, inputs, dropout, with_activity, for_gradient=True)
    return results, (layers, inputs, dropout, u_hats, masks)


def _forward(layers, inputs, dropout, with_activity, for_gradient):
    """Return the results, and `u^` and the masks of dropout of each layer, empty unless they are kept."""
    dtype = jnp.result_type(float)
    shapes = []
    for index, layer in enumerate(layers):
        is_last = index == len(layers) - 1
        of_steps = inputs.shape[:2]
        of_neurons = (*of_steps, layer.features)
        shapes += [
            jax.ShapeDtypeStruct(of_neurons if for_gradient or is_last else EMPTY, dtype),
            jax.ShapeDtypeStruct(of_steps if with_activity and layer.neuron.spiking else EMPTY, dtype),
            jax.ShapeDtypeStruct(
                of_neurons if for_gradient and dropout is not None and not is_last else EMPTY, jnp.uint8
            ),
        ]
    results = _call("forward", shapes, layers, _arguments(layers, inputs, dropout))
    u_hats, activity, masks = results[::3], results[1::3], results[2::3]
    last = layers[-1]
    outputs = last.neuron.outputs(last.coefficients, u_hats[-1])
    return (outputs, tuple(x for x in activity if x.size)), u_hats, masks


def _run_backward(with_activity, saved, bars):
    layers, inputs, dropout, u_hats, masks = saved
    output_bars, activity_bars = bars
    dtype = u_hats[0].dtype
    has_gradient = jnp.issubdtype(inputs.dtype, jnp.inexact)
    arguments, shapes, activity_bars = _arguments(layers, inputs, dropout), [], list(activity_bars)
    for layer, u_hat, mask in zip(layers, u_hats, masks, strict=True):
        has_activity = with_activity and layer.neuron.spiking
        arguments += [u_hat, activity_bars.pop(0).astype(dtype) if has_activity else jnp.zeros(EMPTY, dtype), mask]
        shapes += [(len(_coefficients(layer)), layer.features), *(weights.shape for weights in _weights(layer))]
    shapes.append(u_hats[0].shape if has_gradient else EMPTY)
    results = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    *bars, current_bars = _call("backward", results, layers, [*arguments, output_bars.astype(dtype)])
    layers_bar = tuple(_layer_bar(layer, bars[4 * index : 4 * index + 4]) for index, layer in enumerate(layers))
    inputs_bar = None
    if has_gradient:
        inputs_bar = (current_bars @ layers[0].weights.kernel.T.astype(dtype)).astype(inputs.dtype)
    return layers_bar, inputs_bar, None


_run.defvjp(_run_forward, _run_backward)


def _call(name: str, results: Sequence[Any], layers: Sequence[Any], arguments: Sequence[Array]) -> Sequence[Array]:
    dtype = jnp.result_type(float).name
    _register(dtype)
    call = jax.ffi.ffi_call(f"seadlif_{name}_{dtype}", results, vmap_method="sequential")
    return call(
        *map(first_order, arguments),
        kinds=np.array([KERNELS.index(layer.neuron.kernel) for layer in layers]),
        surrogates=np.array([SHAPES.index(_surrogate(layer).shape) for layer in layers]),
        threads=np.int64(max(1, available_cores() // jax.local_device_count())),
    )


def _arguments(layers, inputs, dropout):
    """Return what both passes need: inputs, dropout, and for each layer its coefficients, numbers and weights."""
    dtype = jnp.result_type(float)
    if inputs.dtype.name not in EVENTS:
        inputs = inputs.astype(dtype)
    keys, probability = jnp.zeros((0, 2), jnp.uint32), jnp.ones(())
    if dropout is not None:
        if (
            str(jax.random.key_impl(dropout.keys)) != "threefry2x32"
            or not jax.config.values["jax_threefry_partitionable"]
        ):
            raise NativeError(
                "the native kernel draws the masks of dropout by threefry2x32; unset jax_default_prng_impl and "
                "jax_threefry_partitionable"
            )
        keys, probability = jax.random.key_data(dropout.keys), jnp.asarray(1 - dropout.rate)
    arguments = [inputs, keys, probability.astype(dtype)]
    for layer in layers:
        surrogate = _surrogate(layer)
        numbers = [getattr(layer.neuron, "threshold", 0), surrogate.slope, surrogate.c]
        arrays = [jnp.stack(_coefficients(layer)), jnp.stack([jnp.asarray(x, dtype) for x in numbers])]
        arguments += [array.astype(dtype) for array in (*arrays, *_weights(layer))]
    return arguments


def _surrogate(layer):
    """Return the surrogate gradient, or any for a neuron that does not spike."""
    return getattr(layer.neuron, "surrogate", Surrogate())


def _coefficients(layer):
    return jax.tree.leaves(layer.coefficients)


def _weights(layer):
    kernel, bias, recurrent_kernel = layer.weights
    return kernel, bias, jnp.zeros((0, layer.features)) if recurrent_kernel is None else recurrent_kernel


def _layer_bar(layer, bars):
    """Return the gradient for a layer, as the layer itself is: of its types, and zero for the numbers of its neuron."""
    coefficients_bar, kernel_bar, bias_bar, recurrent_kernel_bar = bars
    alpha, *_ = _coefficients(layer)
    coefficients_bar = [alpha_bar(alpha, coefficients_bar[0]), *coefficients_bar[1:]]
    coefficients_bar = jax.tree.unflatten(jax.tree.structure(layer.coefficients), coefficients_bar)
    recurrent = layer.weights.recurrent_kernel is not None
    weights_bar = type(layer.weights)(kernel_bar, bias_bar, recurrent_kernel_bar if recurrent else None)
    coefficients_bar, weights_bar = jax.tree.map(
        lambda bar, primal: bar.astype(primal.dtype),
        (coefficients_bar, weights_bar),
        (layer.coefficients, layer.weights),
    )
    neuron_bar = jax.tree.map(jnp.zeros_like, layer.neuron)
    return layer.replace(neuron=neuron_bar, coefficients=coefficients_bar, weights=weights_bar)
