"""Layers through time. Everything is time-major, `[time, batch, ...]`, and runs the neurons' own `step`.

- `scan_layers`: the outputs of the last of several layers, fast to differentiate. It trains and evaluates.
- `scan_states`: all states of one layer, for pictures.
- `scan_with_feedback`: a network step by step, fed with its own output, for forecasts.

Differentiating a plain scan keeps every intermediate value of every step, and adds up the gradients of the weights step
by step. In `run_chunk`, which is behind `scan_layers`,

- the forward pass runs the neuron's own `step`, and keeps one array a step: the neuron's `residual`;
- outputs are not kept: for the backward pass, they are computed again from the residuals, without the loop;
- the backward pass computes from it what is elementwise (`Neuron.backward`, by hand or from `step`), with a single
  product a step, that with the recurrent weights;
- the gradients of all weights are one product over the chunk, outside of the loop.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from seadlif_jax import native
from seadlif_jax.neurons.neuron import before_each, first_order
from seadlif_jax.nn.dropout import Dropout
from seadlif_jax.nn.execution import remat_unsaved, save_residual
from seadlif_jax.nn.layer import Layer, Weights
from seadlif_jax.utils.errors import InputError


class Outputs(NamedTuple):
    """Values of a chunk of steps, twice: so that the backward pass need not run the loop again to have them.

    Attributes:
      computed: outputs of the loop, which the next layer gets; or inputs of the first layer.
      rebuilt: the same values, from the residuals, of which the next layer takes the gradient for its weights.
    """

    computed: Num[Array, "time batch neuron"]
    rebuilt: Num[Array, "time batch neuron"]


def scan_layers(
    layers: Sequence[Layer],
    inputs: Num[Array, "time batch channel"],
    dropout: Dropout | None = None,
    with_activity: bool = False,
) -> tuple[Float[Array, "time batch output"], tuple[Float[Array, "time batch"], ...]]:
    """Run layers, each fed with the outputs of the one before, from the initial state.

    All layers go through a chunk of steps before the next chunk, so that its working set fits the cache. Between
    chunks, only the states and the neurons' residuals are kept for the backward pass.

    Args:
      layers: from first to last. `engine`, `plain_scan` and `chunk_mib` are those of the first.
      inputs: of the first layer.
      dropout: on what each layer but the last gives to the next.
      with_activity: also return the fraction of neurons that spike, of each layer of spiking neurons.

    Returns:
      the outputs of the last layer for all steps, and the activity, or `()`.

    Raises:
      InputError: shapes do not fit.
    """
    _check_shapes(layers, inputs, dropout)
    execution = layers[0].execution
    run_layer = _run_plain if execution.plain_scan else run_chunk

    def run(states, x, steps):
        x, new_states, outputs = Outputs(x, x), [], []
        for index, (layer, state) in enumerate(zip(layers, states, strict=True)):
            if index and dropout is not None:
                x = dropout.apply_to_steps(x, index - 1, steps)
            state, x = run_layer(layer, state, x)
            x = jax.tree.map(layer.outgoing, x)
            new_states.append(state)
            outputs.append(x.computed)
        return tuple(new_states), (outputs[-1], activity(layers, outputs) if with_activity else ())

    num_steps, batch = inputs.shape[:2]
    if not num_steps or not batch:
        empty = [layer.outgoing(jnp.zeros((num_steps, batch, layer.features))) for layer in layers]
        return empty[-1], activity(layers, empty) if with_activity else ()
    if execution.engine == "native":
        return native.run_layers(layers, inputs, dropout, with_activity)
    if execution.plain_scan:
        return run([layer.initial_state(batch) for layer in layers], inputs, jnp.arange(num_steps))[1]

    widest = max(layer.weights.bias.nbytes for layer in layers)
    chunk_steps = execution.chunk_steps(num_steps, batch * widest)
    missing = -num_steps % chunk_steps
    if missing:  # padded behind the end, where it is without effect on the steps before
        inputs = jnp.pad(inputs, [(0, missing), (0, 0), (0, 0)])
    chunks = inputs.reshape(-1, chunk_steps, *inputs.shape[1:])
    steps = jnp.arange(len(inputs)).reshape(-1, chunk_steps)
    carries = tuple(layer.neuron.initial_carry(layer.coefficients, (batch, layer.features)) for layer in layers)
    run_remat = remat_unsaved(run)
    _, out = jax.lax.scan(lambda carries, chunk: run_remat(carries, *chunk), carries, (chunks, steps))
    return jax.tree.map(lambda chunks: chunks.reshape(-1, *chunks.shape[2:])[:num_steps], out)


def _check_shapes(layers: Sequence[Layer], inputs: Array, dropout: Dropout | None = None) -> None:
    """Raise an `InputError` unless inputs fit the first layer, each layer the next one, and dropout the batch."""
    if inputs.ndim != 3:
        raise InputError(f"inputs have shape {inputs.shape}; they must be [time, batch, channel]")
    width = inputs.shape[-1]
    for number, layer in enumerate(layers, 1):
        if len(layer.weights.kernel) != width:
            raise InputError(f"layer {number} has weights for {len(layer.weights.kernel)} inputs, but gets {width}")
        width = layer.features if layer.num_outputs is None else layer.num_outputs
    if dropout is not None and dropout.keys.shape != inputs.shape[1:2]:
        raise InputError(f"dropout has keys of shape {dropout.keys.shape} for {inputs.shape[1]} samples")


def activity(
    layers: Sequence[Layer], outputs: Sequence[Float[Array, "*steps batch _"]]
) -> tuple[Float[Array, "*steps batch"], ...]:
    """Return the fraction of neurons that spike in each step, of each layer of spiking neurons, from what it sends."""
    return tuple(
        jnp.mean(x, axis=-1, dtype=float) for layer, x in zip(layers, outputs, strict=True) if layer.neuron.spiking
    )


@jax.custom_vjp
def run_chunk(layer: Layer, carry: Any, inputs: Outputs) -> tuple[Any, Outputs]:
    """Advance a layer by some steps; return the carry after them, and the outputs of all of them.

    The carry stands for a state (see `Neuron.unpack`). Integer inputs, such as event counts, need no conversion and get
    no gradient. Nor do the hyperparameters of the neuron, such as the slope of its surrogate gradient.

    Raises:
      NotImplementedError: the gradient is differentiated once more.
    """
    return _run_forward(layer, carry, inputs)[0]


def _run_forward(layer, first, inputs):
    """Return the same, and what the backward pass needs; under `remat_unsaved`, all else is computed again."""
    neuron, coefficients = layer.neuron, layer.coefficients

    def step(carry, projected):
        before = neuron.unpack(coefficients, carry)
        current = layer.current(projected, before)
        state = neuron.step(coefficients, before, current)
        carry = neuron.pack(before, state)
        return carry, (state.output, neuron.residual(carry, current))

    last, (outputs, residuals) = jax.lax.scan(
        step, first, layer.project(inputs.computed), unroll=layer.execution.unroll
    )
    residuals = save_residual(residuals)
    replayed = neuron.replay(coefficients, first, residuals)
    outputs = Outputs(outputs, neuron.outputs(coefficients, replayed))
    return (last, outputs), (layer, first, inputs.rebuilt, residuals, outputs.rebuilt, replayed)


def _run_backward(saved: tuple[Any, ...], bars: tuple[Any, Outputs]) -> tuple[Any, ...]:
    """Return the gradients for layer, carry and inputs from those for the last carry and the outputs."""
    layer, first, inputs, residuals, outputs, replayed = saved
    last_bar, (output_bars, _) = bars
    neuron, coefficients, weights, execution = layer.neuron, layer.coefficients, layer.weights, layer.execution

    def recur(current_bar):
        if weights.recurrent_kernel is None:
            return jnp.zeros_like(output_bars[0])
        return execution.matmul(current_bar, weights.recurrent_kernel.T).astype(output_bars.dtype)

    current_bars, coefficients_bar, first_bar = neuron.backward(
        coefficients, first, residuals, replayed, last_bar, output_bars, recur
    )

    # One product for all weights: side by side, the sources of the currents take one transposition of `current_bars`.
    channels, sources = inputs.shape[-1], [inputs.astype(current_bars.dtype)]
    if weights.recurrent_kernel is not None:
        sources.append(before_each(neuron.unpack(coefficients, first).output, outputs))
    kernels_bar = execution.sum_of_outer_products(current_bars, jnp.concatenate(sources, axis=-1)).T
    recurrent_bar = None if weights.recurrent_kernel is None else kernels_bar[channels:]
    weights_bar = Weights(kernels_bar[:channels], current_bars.sum((0, 1)), recurrent_bar)
    inputs_bar: Any = None
    if jnp.issubdtype(inputs.dtype, jnp.inexact):
        inputs_bar = first_order(execution.matmul(current_bars, weights.kernel.T).astype(inputs.dtype))
    # Weights may be of a narrower type than states.
    coefficients_bar, weights_bar, first_bar = jax.tree.map(
        lambda bar, primal: first_order(bar).astype(primal.dtype),
        (coefficients_bar, weights_bar, first_bar),
        (coefficients, weights, first),
    )
    layer_bar = layer.replace(
        neuron=jax.tree.map(jnp.zeros_like, neuron),  # not trained
        coefficients=coefficients_bar,
        weights=weights_bar,
    )
    rebuilt_bar: Any = None  # the gradient goes to the values computed
    return layer_bar, first_bar, Outputs(inputs_bar, rebuilt_bar)


run_chunk.defvjp(_run_forward, _run_backward)


def scan_states(layer: Layer, inputs: Num[Array, "time batch channel"]) -> Any:
    """Run a layer from the initial state; return the states after all steps, stacked over time.

    Raises:
      InputError: the inputs do not fit the layer.
    """
    _check_shapes((layer,), inputs)
    return _scan(layer, layer.initial_state(inputs.shape[1]), inputs)[1]


def _run_plain(layer: Layer, state: Any, inputs: Outputs) -> tuple[Any, Outputs]:
    """Advance a layer like `run_chunk`, differentiated by JAX through the scan."""
    layer = layer.replace(neuron=jax.lax.stop_gradient(layer.neuron))
    last, states = _scan(layer, state, inputs.computed)
    return last, Outputs(states.output, states.output)


def _scan(layer: Layer, state: Any, inputs: Num[Array, "time batch channel"]) -> tuple[Any, Any]:
    def step(state, projected):
        state = layer.step(state, projected)
        return state, state

    return jax.lax.scan(step, state, layer.project(inputs))


def scan_with_feedback(
    step: Callable[[Any, Any, Any], tuple[Any, Float[Array, "batch channel"]]],
    state: Any,
    inputs: Float[Array, "time batch channel"],
    feedback_from: int,
    observe: Callable[[Any], Any] = lambda state: (),
) -> tuple[Float[Array, "time batch channel"], Any]:
    """Run a network step by step; from step `feedback_from` on, its input is its own, detached output.

    `step` is `(state, x_t, t) -> (state, y_t)`, with outputs of the shape and type of the inputs. Return all `y_t`, and
    `observe(state)` of all steps.
    """

    def body(carry, step_input):
        state, y = carry
        x, t = step_input
        x = jnp.where(t < feedback_from, x, jax.lax.stop_gradient(y))
        state, y = step(state, x, t)
        return (state, y), (y, observe(state))

    first = (state, jnp.zeros(inputs.shape[1:], inputs.dtype))
    return jax.lax.scan(body, first, (inputs, jnp.arange(len(inputs))))[1]
