"""Running layers through time: the one place that chooses how.

There are three ways through time:

- `unroll`: one layer over a whole sequence, with all its states. The readable reference, from the step functions.
- `outputs`: only what the layer sends on, and much faster to differentiate: by the gradient of `adjoint` where it is
  known, otherwise by `unroll`.
- `advance`: one layer by one step, for streaming and for networks that are fed their own output (`unroll_steps`).

Everything here is time-major, `[time, batch, ...]`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from seadlif_jax import adjoint
from seadlif_jax.compute import Compute
from seadlif_jax.neurons import Neuron, zero_state
from seadlif_jax.surrogate import SpikeFn


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

    def initial_state(self, batch: int) -> Any:
        """The state before the first step, `[batch, neuron]`."""
        return zero_state(self.neuron.state, (batch, len(self.bias) // self.neuron.gates))

    def project(self, x: Num[Array, "*shape channel"]) -> Float[Array, "*shape current"]:
        """The feed-forward part of the current, for one step or for all at once."""
        return self.compute.matmul(x.astype(self.kernel.dtype), self.kernel) + self.bias

    def integrate(self, state: Any, current: Float[Array, "batch current"]) -> Any:
        """Adds the recurrent current and advances the neurons by one step."""
        if self.recurrent_kernel is not None:
            current = current + self.compute.matmul(state.output, self.recurrent_kernel)
        return self.neuron.step(self.params, state, current, self.spike)


def outputs(layer: Layer, inputs: Num[Array, "time batch channel"]) -> Float[Array, "time batch neuron"]:
    """Runs a layer over a whole sequence from the zero state; returns what it sends on."""
    if layer.compute.plain_scan or layer.spike is None or not adjoint.has_gradient(layer.neuron):
        return unroll(layer, inputs).output
    weights = adjoint.Weights(layer.kernel, layer.bias, layer.recurrent_kernel)
    return adjoint.spikes(layer.neuron, layer.params, layer.spike, weights, layer.compute, inputs)


def unroll(layer: Layer, inputs: Num[Array, "time batch channel"]) -> Any:
    """Runs a layer over a whole sequence from the zero state; returns the states of all steps, stacked over time.

    The input projection of all steps is one matmul, then the scan does only what is sequential.
    """

    def body(state, current):
        state = layer.integrate(state, current)
        return state, state

    return jax.lax.scan(body, layer.initial_state(inputs.shape[1]), layer.project(inputs))[1]


def advance(layer: Layer, state: Any, x: Num[Array, "batch channel"]) -> Any:
    """Advances a layer by one step."""
    return layer.integrate(state, layer.project(x))


def unroll_steps(
    step: Callable[[Any, Any, Any], tuple[Any, Float[Array, "batch channel"]]],
    state: Any,
    inputs: Float[Array, "time batch channel"],
    feedback_from: int,
) -> Float[Array, "time batch channel"]:
    """Runs a network step by step; from step `feedback_from` on, its input is its own, detached output.

    `step` is `(state, x_t, t) -> (state, y_t)`.
    """

    def body(carry, step_input):
        state, y = carry
        x, t = step_input
        x = jnp.where(t < feedback_from, x, jax.lax.stop_gradient(y))
        state, y = step(state, x, t)
        return (state, y), y

    first = (state, jnp.zeros_like(inputs[0]))
    return jax.lax.scan(body, first, (inputs, jnp.arange(len(inputs))))[1]
