"""Running layers through time: the one place that knows about `jax.lax.scan`.

There are two ways through time, both from the same step functions:

- `unroll`: one layer over a whole sequence. The input projection of all steps is one matmul, then the scan does only
  what is sequential. Layers run one after the other.
- `advance`: one layer by one step, for streaming and for networks that are fed their own output (`unroll_steps`).

Everything here is time-major, `[time, batch, ...]`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer with its parameters bound: `I_t = x_t kernel + bias + output_{t-1} recurrent_kernel`.

    Attributes:
      step: `(state, current) -> state`, a step function of `neurons` with parameters and spike function bound.
      initial_state: batch size -> the state before the first step.
      kernel, bias: input weights `[channel, current]` and bias `[current]`.
      recurrent_kernel: weights `[neuron, current]`, or None for a layer without recurrence.
    """

    step: Callable[[Any, Float[Array, "batch current"]], Any]
    initial_state: Callable[[int], Any]
    kernel: Float[Array, "channel current"]
    bias: Float[Array, " current"]
    recurrent_kernel: Float[Array, "neuron current"] | None = None

    def project(self, x: Num[Array, "*shape channel"]) -> Float[Array, "*shape current"]:
        """The feed-forward part of the current, for one step or for all at once."""
        return x.astype(self.kernel.dtype) @ self.kernel + self.bias

    def integrate(self, state: Any, current: Float[Array, "batch current"]) -> Any:
        """Adds the recurrent current and advances the neurons by one step."""
        if self.recurrent_kernel is not None:
            current = current + state.output @ self.recurrent_kernel
        return self.step(state, current)


def unroll(layer: Layer, inputs: Num[Array, "time batch channel"]) -> Any:
    """Runs a layer over a whole sequence from the zero state; returns the states of all steps, stacked over time.

    A caller that uses only `states.output` pays only for that: what is not used, the compiler drops.
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
