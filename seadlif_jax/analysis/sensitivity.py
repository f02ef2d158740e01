"""Sensitivity of a neuron's membrane potential to the input currents of earlier steps: what learning has to go by.

Backpropagation through time multiplies the sensitivity `d u_T / d I_t` with the gradient of the current of step `t`.
Below threshold a neuron is linear, and its sensitivity is its impulse response, reversed in time. For a LIF neuron, it
decays monotonically. For an adLIF neuron it oscillates: the gradient compares the input with a pattern in time.

A spike resets the membrane potential, and erases the past of a LIF neuron: its sensitivity is zero up to the last
spike. The adaptation current of an adLIF neuron is not reset, and carries the sensitivity across spikes.

Source: Baronig, Ferrand, Sabathiel & Legenstein (arXiv 2408.07517), on the gradients of adLIF neurons, Fig. 5.
Neurons are not connected here: `[..., neuron]` is as many cases side by side.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seadlif_jax.neurons import NEURONS, AdLIFParams, AdLIFState, LIFParams, LIFState
from seadlif_jax.neurons.surrogate import SpikeFn
from seadlif_jax.nn.scan import Layer, unroll

Currents = Float[Array, "time neuron"]


def respond(neuron: str, params: LIFParams | AdLIFParams, current: Currents, spike: SpikeFn) -> LIFState | AdLIFState:
    """Return the states of unconnected neurons, `[time, neuron]`, from the zero state on.

    Args:
      neuron: "lif", "ef_adlif" or "se_adlif".
      params: its parameters, `[neuron]`.
      current: input current `I_t` of each neuron.
      spike: the spike function.
    """
    width = current.shape[1]
    layer = Layer(NEURONS[neuron], params, jnp.eye(width), jnp.zeros(width), spike=spike)
    return jax.tree.map(lambda values: values[:, 0], unroll(layer, current[:, None]))


def input_sensitivity(neuron: str, params: LIFParams | AdLIFParams, current: Currents, spike: SpikeFn) -> Currents:
    """Return `d u_T / d I_t` of every step `t`, with `u_T` the membrane potential after the last; arguments as above.

    Example:
      >>> from seadlif_jax import spike_function
      >>> half = LIFParams(alpha=jnp.array([0.5]))
      >>> input_sensitivity("lif", half, jnp.zeros((4, 1)), spike_function())[:, 0].tolist()
      [0.0625, 0.125, 0.25, 0.5]
    """
    return jax.grad(lambda current: respond(neuron, params, current, spike).u[-1].sum())(current)
