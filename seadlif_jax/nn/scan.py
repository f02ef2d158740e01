"""Running layers through time: the one place that chooses how.

There are three ways through time:

- `unroll`: one layer over a whole sequence, with all its states. The readable reference, from the step functions.
- `outputs`: only what the last of several layers sends on, but much faster to differentiate: chunk by chunk, and by the
  gradient of `adjoint` where there is one.
- `advance`: one layer by one step, for streaming and for networks that are fed their own output (`unroll_steps`).

Everything here is time-major, `[time, batch, ...]`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from seadlif_jax.neurons import Neuron, zero_state
from seadlif_jax.neurons.surrogate import SpikeFn
from seadlif_jax.nn import adjoint
from seadlif_jax.nn.execution import Compute, recompute_the_rest


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer with its parameters: `I_t = x_t kernel + bias + output_{t-1} recurrent_kernel`.

    Attributes:
      neuron: the step function and what belongs to it.
      params: its parameters.
      kernel, bias: input weights `[channel, current]` and bias `[current]`.
      recurrent_kernel: weights `[neuron, current]`, or None for a layer without recurrence.
      spike: the spike function, or None for neurons that do not spike.
      compute: how to compute.
    """

    neuron: Neuron
    params: Any
    kernel: Float[Array, "channel current"]
    bias: Float[Array, " current"]
    recurrent_kernel: Float[Array, "neuron current"] | None = None
    spike: SpikeFn | None = None
    compute: Compute = Compute()  # noqa: RUF009  a NamedTuple: immutable

    @property
    def width(self) -> int:
        """The number of neurons."""
        return len(self.bias) // self.neuron.gates

    def initial_state(self, batch: int) -> Any:
        """The state before the first step, `[batch, neuron]`."""
        return zero_state(self.neuron.state, (batch, self.width))

    def project(self, x: Num[Array, "*shape channel"]) -> Float[Array, "*shape current"]:
        """The feed-forward part of the current, for one step or for all at once."""
        return self.compute.matmul(x.astype(self.kernel.dtype), self.kernel) + self.bias

    def integrate(self, state: Any, current: Float[Array, "batch current"]) -> Any:
        """Adds the recurrent current and advances the neurons by one step."""
        if self.recurrent_kernel is not None:
            current = current + self.compute.matmul(state.output, self.recurrent_kernel)
        return self.neuron.step(self.params, state, current, self.spike)


# From the number of a layer, what it sends on in some steps, and their numbers, to the inputs of the next layer.
Between = Callable[[int, Float[Array, "step batch neuron"], Int[Array, " step"]], Array]


def _as_it_is(index: int, x: Array, steps: Array) -> Array:
    return x


def outputs(
    layers: Sequence[Layer], inputs: Num[Array, "time batch channel"], between: Between = _as_it_is
) -> Float[Array, "time batch output"]:
    """Runs layers, each fed with the outputs of the one before, from the zero state; returns what the last sends on.

    All layers go through a chunk of steps before the next chunk: its working set fits the cache. Only the membrane
    potentials are kept for the backward pass; the rest is cheap to compute again.

    Args:
      layers: from first to last. The chunks are those that the first asks for.
      inputs: of the first layer.
      between: `(index, outputs, numbers of the steps)` -> inputs of the next layer, such as dropout.
    """
    return _outputs(layers, inputs, between, lambda sent: ())[0]


def outputs_with_activity(
    layers: Sequence[Layer], inputs: Num[Array, "time batch channel"]
) -> tuple[Float[Array, "time batch output"], tuple[Float[Array, "time batch"], ...]]:
    """As `outputs`, and the `activity` of the layers. Not to be differentiated: that takes longer."""
    return _outputs(layers, inputs, _as_it_is, lambda sent: activity(layers, sent))


def activity(
    layers: Sequence[Layer], sent: Sequence[Float[Array, "*steps batch _"]]
) -> tuple[Float[Array, "*steps batch"], ...]:
    """The part of their neurons that spike, of those layers that spike, from what the layers sent on."""
    return tuple(
        jnp.mean(x, axis=-1, dtype=float) for layer, x in zip(layers, sent, strict=True) if layer.neuron.spikes
    )


def _outputs(
    layers: Sequence[Layer],
    inputs: Num[Array, "time batch channel"],
    between: Between,
    watch: Callable[[Sequence[Array]], Any],
) -> tuple[Float[Array, "time batch output"], Any]:
    """What the last layer sends on, and what `watch` makes of what all of them send on in some steps."""
    each = [_some_steps(layer) for layer in layers]

    def run(states, x, steps):
        new_states, sent = [], []
        for index, (some_steps, state) in enumerate(zip(each, states, strict=True)):
            state, x = some_steps(state, between(index - 1, x, steps) if index else x)
            new_states.append(state)
            sent.append(x)
        return tuple(new_states), (x, watch(sent))

    num_steps, batch = inputs.shape[:2]
    if not num_steps or not batch:
        return jnp.zeros((num_steps, batch, layers[-1].width)), watch(
            [jnp.zeros((num_steps, batch, layer.width)) for layer in layers]
        )
    compute = layers[0].compute
    states = tuple(_first_state(layer, batch) for layer in layers)
    if compute.plain_scan:
        return run(states, inputs, jnp.arange(num_steps))[1]

    widest = max(layer.bias.nbytes for layer in layers)
    chunk_steps = compute.chunk_steps(num_steps, batch * widest)
    missing = -num_steps % chunk_steps
    if missing:  # padded behind the end, where it is without effect on what is before
        inputs = jnp.pad(inputs, [(0, missing), (0, 0), (0, 0)])
    chunks = inputs.reshape(-1, chunk_steps, *inputs.shape[1:])
    steps = jnp.arange(len(inputs)).reshape(-1, chunk_steps)
    run_chunk = recompute_the_rest(run)
    _, out = jax.lax.scan(lambda states, chunk: run_chunk(states, *chunk), states, (chunks, steps))
    return jax.tree.map(lambda of_chunks: of_chunks.reshape(-1, *of_chunks.shape[2:])[:num_steps], out)


def _first_state(layer: Layer, batch: int) -> Any:
    """The state before the first step, for `_some_steps`."""
    if _has_adjoint(layer):
        return adjoint.zero_state(layer.neuron, batch, len(layer.bias))
    return layer.initial_state(batch)


def _some_steps(layer: Layer) -> Callable[[Any, Num[Array, "step batch channel"]], tuple[Any, Array]]:
    """What advances a layer by some steps: returns the state after them, and what it sends on."""
    if _has_adjoint(layer):
        weights = adjoint.Weights(layer.kernel, layer.bias, layer.recurrent_kernel)
        assert layer.spike is not None
        return adjoint.prepare(layer.neuron, layer.params, layer.spike, weights, layer.compute)

    def some_steps(state, inputs):
        last, states = _scan(layer, state, inputs)
        return last, states.output

    return some_steps


def unroll(layer: Layer, inputs: Num[Array, "time batch channel"]) -> Any:
    """Runs a layer over a whole sequence from the zero state; returns the states of all steps, stacked over time."""
    return _scan(layer, layer.initial_state(inputs.shape[1]), inputs)[1]


def _scan(layer: Layer, state: Any, inputs: Num[Array, "time batch channel"]) -> tuple[Any, Any]:
    """The input projection of all steps is one matmul, then the scan does only what is sequential."""

    def body(state, current):
        state = layer.integrate(state, current)
        return state, state

    return jax.lax.scan(body, state, layer.project(inputs))


def _has_adjoint(layer: Layer) -> bool:
    return not layer.compute.plain_scan and layer.spike is not None and adjoint.has_gradient(layer.neuron)


def advance(layer: Layer, state: Any, x: Num[Array, "batch channel"]) -> Any:
    """Advances a layer by one step."""
    return layer.integrate(state, layer.project(x))


def unroll_steps(
    step: Callable[[Any, Any, Any], tuple[Any, Float[Array, "batch channel"]]],
    state: Any,
    inputs: Float[Array, "time batch channel"],
    feedback_from: int,
    watch: Callable[[Any], Any] = lambda state: (),
) -> tuple[Float[Array, "time batch channel"], Any]:
    """Runs a network step by step; from step `feedback_from` on, its input is its own, detached output.

    `step` is `(state, x_t, t) -> (state, y_t)`. Returns all `y_t`, and what `watch` makes of all states.
    """

    def body(carry, step_input):
        state, y = carry
        x, t = step_input
        x = jnp.where(t < feedback_from, x, jax.lax.stop_gradient(y))
        state, y = step(state, x, t)
        return (state, y), (y, watch(state))

    first = (state, jnp.zeros_like(inputs[0]))
    return jax.lax.scan(body, first, (inputs, jnp.arange(len(inputs))))[1]
