"""Layers through time. Everything is time-major, `[time, batch, ...]`, and runs the neurons' own `step`.

- `scan_layers`: the outputs of the last of several layers, fast to differentiate. It trains and evaluates.
- `scan_states`: all states of one layer, for pictures.
- `scan_with_feedback`: a network step by step, fed with its own output, for forecasts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from seadlif_jax.nn.execution import remat_unsaved
from seadlif_jax.nn.gradient import run_chunk
from seadlif_jax.nn.layer import Layer

# From the index of a layer, its outputs in some steps, and the numbers of the steps, to the inputs of the next layer.
Between = Callable[[int, Float[Array, "step batch neuron"], Int[Array, " step"]], Array]


def unchanged(index: int, x: Array, steps: Array) -> Array:
    """Return the outputs of a layer as the inputs of the next one."""
    return x


def scan_layers(
    layers: Sequence[Layer], inputs: Num[Array, "time batch channel"], between: Between = unchanged
) -> Float[Array, "time batch output"]:
    """Run layers, each fed with the outputs of the one before, from the initial state; return the outputs of the last.

    All layers go through a chunk of steps before the next chunk, so that its working set fits the cache. Between
    chunks, only the states and the neurons' residuals are kept for the backward pass.

    Args:
      layers: from first to last. Those of the first decide the length of a chunk.
      inputs: of the first layer.
      between: `(index, outputs, numbers of the steps)` -> inputs of the next layer, such as dropout.
    """
    return _scan_chunks(layers, inputs, between, lambda outputs: ())[0]


def scan_layers_with_activity(
    layers: Sequence[Layer], inputs: Num[Array, "time batch channel"]
) -> tuple[Float[Array, "time batch output"], tuple[Float[Array, "time batch"], ...]]:
    """Return the outputs as `scan_layers`, and the `activity` of the layers. Slower to differentiate."""
    return _scan_chunks(layers, inputs, unchanged, lambda outputs: activity(layers, outputs))


def activity(
    layers: Sequence[Layer], outputs: Sequence[Float[Array, "*steps batch _"]]
) -> tuple[Float[Array, "*steps batch"], ...]:
    """Return the fraction of neurons that spike in each step, of each layer of spiking neurons, from its outputs."""
    return tuple(
        jnp.mean(x, axis=-1, dtype=float) for layer, x in zip(layers, outputs, strict=True) if layer.neuron.spiking
    )


def _scan_chunks(
    layers: Sequence[Layer],
    inputs: Num[Array, "time batch channel"],
    between: Between,
    observe: Callable[[Sequence[Array]], Any],
) -> tuple[Float[Array, "time batch output"], Any]:
    """Return the outputs of the last layer, and `observe(outputs of all layers)`, for all steps."""
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
    states = tuple(layer.initial_state(batch) for layer in layers)
    if execution.plain_scan:
        return run(states, inputs, jnp.arange(num_steps))[1]

    widest = max(layer.weights.bias.nbytes for layer in layers)
    chunk_steps = execution.chunk_steps(num_steps, batch * widest)
    missing = -num_steps % chunk_steps
    if missing:  # padded behind the end, where it is without effect on the steps before
        inputs = jnp.pad(inputs, [(0, missing), (0, 0), (0, 0)])
    chunks = inputs.reshape(-1, chunk_steps, *inputs.shape[1:])
    steps = jnp.arange(len(inputs)).reshape(-1, chunk_steps)
    run_remat = remat_unsaved(run)
    _, out = jax.lax.scan(lambda states, chunk: run_remat(states, *chunk), states, (chunks, steps))
    return jax.tree.map(lambda chunks: chunks.reshape(-1, *chunks.shape[2:])[:num_steps], out)


def _run_plain(layer: Layer, state: Any, inputs: Num[Array, "time batch channel"]) -> tuple[Any, Array]:
    """Advance a layer like `run_chunk`, differentiated by JAX through the scan."""
    last, states = _scan(layer, state, inputs)
    return last, states.output


def _scan(layer: Layer, state: Any, inputs: Num[Array, "time batch channel"]) -> tuple[Any, Any]:
    def step(state, current):
        state = layer.step(state, current)
        return state, state

    return jax.lax.scan(step, state, layer.project(inputs))


def scan_states(layer: Layer, inputs: Num[Array, "time batch channel"]) -> Any:
    """Run a layer from the initial state; return the states after all steps, stacked over time."""
    return _scan(layer, layer.initial_state(inputs.shape[1]), inputs)[1]


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
