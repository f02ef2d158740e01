"""Sensitivity of a neuron's membrane potential to the input currents of earlier steps: what learning has to go by.

Backpropagation through time multiplies the sensitivity `d u_T / d I_t` with the gradient of the current of step `t`.
Below threshold a neuron is linear, and its sensitivity is its impulse response, reversed in time. For a LIF neuron, it
decays monotonically. For an adLIF neuron it oscillates: the gradient compares the input with a pattern in time.

A spike resets the membrane potential, and erases the past of a LIF neuron: its sensitivity is zero up to the last
spike. The adaptation current of an adLIF neuron is not reset, and carries the sensitivity across spikes.

Source: Baronig, Ferrand, Sabathiel & Legenstein (arXiv 2408.07517), on the gradients of adLIF neurons, Fig. 5.
Neurons are not connected here: `[..., neuron]` is as many cases side by side.
"""

from typing import Any

import jax
from jaxtyping import Array, Float

from seadlif_jax.neurons import Neuron

Currents = Float[Array, "time neuron"]


def respond(neuron: Neuron, coefficients: Any, current: Currents) -> Any:
    """Return the states of unconnected neurons, every field `[time, neuron]`, from the initial state on.

    Args:
      neuron: the neuron.
      coefficients: its coefficients, `[neuron]` (see `Neuron.coefficients`).
      current: input current `I_t` of each neuron.
    """

    def step(state: Any, current: Float[Array, " neuron"]) -> tuple[Any, Any]:
        state = neuron.step(coefficients, state, current)
        return state, state

    return jax.lax.scan(step, neuron.initial_state(current.shape[1:]), current)[1]


def input_sensitivity(neuron: Neuron, coefficients: Any, current: Currents) -> Currents:
    """Return `d u_T / d I_t` of every step `t`, with `u_T` the membrane potential after the last; arguments as above.

    Example:
      >>> import jax.numpy as jnp
      >>> from seadlif_jax.neurons import LIF, LIFCoefficients
      >>> input_sensitivity(LIF(), LIFCoefficients(jnp.array([0.5])), jnp.zeros((4, 1)))[:, 0].tolist()
      [0.0625, 0.125, 0.25, 0.5]
    """
    return jax.grad(lambda current: respond(neuron, coefficients, current).u[-1].sum())(current)
