"""Layers through time. Everything is time-major, `[time, batch, ...]`, and runs the neurons' own `step`.

- `scan_layers`: the outputs of the last of several layers, fast to differentiate. It trains and evaluates.
- `scan_states`: all states of one layer, for pictures.
- `scan_with_feedback`: a network step by step, fed with its own output, for forecasts.

Differentiating a plain scan keeps every intermediate value of every step, and adds up the gradients of the weights step
by step. In `run_chunk`, which is behind `scan_layers`,

- the forward pass runs the neuron's own `step`, and keeps one array a step: the neuron's `residual`;
- the backward pass computes from it what is elementwise (`Neuron.backward`, by hand or from `step`), with a single
  product a step, that with the recurrent weights;
- the gradients of all weights are one product over the chunk, outside of the loop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from seadlif_jax import native
from seadlif_jax.neurons.neuron import before_each
from seadlif_jax.nn.execution import remat_unsaved, save_residual
from seadlif_jax.nn.layer import Layer, Weights

# From the index of a layer, its outputs in some steps, and the numbers of the steps, to the inputs of the next layer.
Between = Callable[[int, Float[Array, "step batch neuron"], Int[Array, " step"]], Array]


def scan_layers(
    layers: Sequence[Layer],
    inputs: Num[Array, "time batch channel"],
    between: Between = lambda index, x, steps: x,
    observe: Callable[[Sequence[Array]], Any] = lambda outputs: (),
) -> tuple[Float[Array, "time batch output"], Any]:
    """Run layers, each fed with the outputs of the one before, from the initial state.

    All layers go through a chunk of steps before the next chunk, so that its working set fits the cache. Between
    chunks, only the states and the neurons' residuals are kept for the backward pass.

    Args:
      layers: from first to last. The execution of the first decides the length of a chunk.
      inputs: of the first layer.
      between: `(index, outputs, numbers of the steps)` -> inputs of the next layer, such as dropout.
      observe: a function of the outputs of all layers, step by step, such as `activity`.

    Returns:
      the outputs of the last layer, and those of `observe`, for all steps.
    """
    execution = layers[0].execution
    run_layer = _run_plain if execution.plain_scan else run_chunk

    def run(states, x, steps):
        new_states, outputs = [], []
        for index, (layer, state) in enumerate(zip(layers, states, strict=True)):
            state, x = run_layer(layer, state, between(index - 1, x, steps) if index else x)
            new_states.append(state)
            outputs.append(x)
        return tuple(new_states), (x, observe(outputs))

    num_steps, batch = inputs.shape[:2]
    if not num_steps or not batch:
        empty = [jnp.zeros((num_steps, batch, layer.features)) for layer in layers]
        return empty[-1], observe(empty)
    if execution.plain_scan:
        return run([layer.initial_state(batch) for layer in layers], inputs, jnp.arange(num_steps))[1]

    widest = max(layer.weights.bias.nbytes for layer in layers)
    chunk_steps = execution.chunk_steps(num_steps, batch * widest)
    missing = -num_steps % chunk_steps
    if missing:  # padded behind the end, where it is without effect on the steps before
        inputs = jnp.pad(inputs, [(0, missing), (0, 0), (0, 0)])
    chunks = inputs.reshape(-1, chunk_steps, *inputs.shape[1:])
    steps = jnp.arange(len(inputs)).reshape(-1, chunk_steps)
    carries = tuple(layer.neuron.initial_carry((batch, layer.features)) for layer in layers)
    run_remat = remat_unsaved(run)
    _, out = jax.lax.scan(lambda carries, chunk: run_remat(carries, *chunk), carries, (chunks, steps))
    return jax.tree.map(lambda chunks: chunks.reshape(-1, *chunks.shape[2:])[:num_steps], out)


def activity(
    layers: Sequence[Layer], outputs: Sequence[Float[Array, "*steps batch _"]]
) -> tuple[Float[Array, "*steps batch"], ...]:
    """Return the fraction of neurons that spike in each step, of each layer of spiking neurons, from its outputs."""
    return tuple(
        jnp.mean(x, axis=-1, dtype=float) for layer, x in zip(layers, outputs, strict=True) if layer.neuron.spiking
    )


@jax.custom_vjp
def run_chunk(
    layer: Layer, carry: Any, inputs: Num[Array, "time batch channel"]
) -> tuple[Any, Float[Array, "time batch neuron"]]:
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
        state = neuron.unpack(coefficients, carry)
        current = layer.current(projected, state)
        carry = neuron.pack(state, neuron.step(coefficients, state, current))
        return carry, neuron.residual(carry, current)

    if layer.native:
        last, residuals = native.forward(layer, first, inputs)
    else:
        last, residuals = jax.lax.scan(step, first, layer.project(inputs), unroll=layer.execution.unroll)
    residuals = save_residual(residuals)
    return (last, neuron.outputs(coefficients, first, residuals)), (layer, first, inputs, residuals)


def _run_backward(saved: tuple[Layer, Any, Array, Array], bars: tuple[Any, Array]) -> tuple[Any, ...]:
    """Return the gradients for layer, carry and inputs from those for the last carry and the outputs."""
    layer, first, inputs, residuals = saved
    last_bar, output_bars = bars
    neuron, coefficients, weights, execution = layer.neuron, layer.coefficients, layer.weights, layer.execution
    sources = [inputs]
    if weights.recurrent_kernel is not None:
        outputs = neuron.outputs(coefficients, first, residuals)
        sources.append(before_each(neuron.unpack(coefficients, first).output, outputs))

    def recur(current_bar):
        if weights.recurrent_kernel is None:
            return jnp.zeros_like(output_bars[0])
        return execution.matmul(current_bar, weights.recurrent_kernel.T).astype(output_bars.dtype)

    if layer.native:
        current_bars, coefficients_bar, first_bar = native.backward(layer, first, residuals, last_bar, output_bars)
        kernels_bar = [native.sum_outer_products(source, current_bars) for source in sources]
    else:
        current_bars, coefficients_bar, first_bar = neuron.backward(
            coefficients, first, residuals, last_bar, output_bars, recur
        )
        # One product for all weights: side by side, the sources take one transposition of `current_bars`.
        together = jnp.concatenate([source.astype(current_bars.dtype) for source in sources], axis=-1)
        kernels_bar = jnp.split(execution.sum_of_outer_products(current_bars, together).T, [inputs.shape[-1]])
    recurrent_bar = None if weights.recurrent_kernel is None else kernels_bar[1]
    weights_bar = Weights(kernels_bar[0], current_bars.sum((0, 1)), recurrent_bar)
    inputs_bar = None
    if jnp.issubdtype(inputs.dtype, jnp.inexact):
        inputs_bar = _first_order(execution.matmul(current_bars, weights.kernel.T).astype(inputs.dtype))
    # Weights may be of a narrower type than states.
    coefficients_bar, weights_bar, first_bar = jax.tree.map(
        lambda bar, primal: _first_order(bar).astype(primal.dtype),
        (coefficients_bar, weights_bar, first_bar),
        (coefficients, weights, first),
    )
    not_trained = jax.tree.map(jnp.zeros_like, neuron)
    return Layer(not_trained, coefficients_bar, weights_bar, execution), first_bar, inputs_bar


run_chunk.defvjp(_run_forward, _run_backward)


@jax.custom_jvp
def _first_order(gradient: Array) -> Array:
    """Return the gradient itself, which takes the residuals for constants and must not be differentiated again."""
    return gradient


@_first_order.defjvp
def _refuse(primals, tangents):
    raise NotImplementedError("higher derivatives of recurrent layers need Execution(plain_scan=True)")


def scan_states(layer: Layer, inputs: Num[Array, "time batch channel"]) -> Any:
    """Run a layer from the initial state; return the states after all steps, stacked over time."""
    return _scan(layer, layer.initial_state(inputs.shape[1]), inputs)[1]


def _run_plain(layer: Layer, state: Any, inputs: Num[Array, "time batch channel"]) -> tuple[Any, Array]:
    """Advance a layer like `run_chunk`, differentiated by JAX through the scan."""
    last, states = _scan(layer, state, inputs)
    return last, states.output


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

    `step` is `(state, x_t, t) -> (state, y_t)`. Return all `y_t`, and `observe(state)` of all steps.
    """

    def body(carry, step_input):
        state, y = carry
        x, t = step_input
        x = jnp.where(t < feedback_from, x, jax.lax.stop_gradient(y))
        state, y = step(state, x, t)
        return (state, y), (y, observe(state))

    first = (state, jnp.zeros_like(inputs[0]))
    return jax.lax.scan(body, first, (inputs, jnp.arange(len(inputs))))[1]
