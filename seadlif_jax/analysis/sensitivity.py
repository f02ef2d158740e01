"""How the membrane potential of a neuron depends on the input currents of earlier steps: what learning has to go by.

Backpropagation through time multiplies the sensitivity `d u_T / d I_t` with what the current of step `t` is made of.
Below threshold a neuron is linear, and its sensitivity is its impulse response, reversed in time. That of a LIF neuron
decays monotonically. That of an adLIF neuron oscillates: its gradient compares the input with a pattern in time.

A spike resets the membrane potential, and with it ends what a LIF neuron knows of its past: its sensitivity is zero up
to the last spike. The adaptation current of an adLIF neuron is not reset, and carries the sensitivity across spikes.

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
    """The states of unconnected neurons, `[time, neuron]`, each driven by a current of its own from the zero state.

    Args:
      neuron: "lif", "ef_adlif" or "se_adlif".
      params: its parameters, `[neuron]`.
      current: `I_t`.
      spike: the spike function.
    """
    width = current.shape[1]
    layer = Layer(NEURONS[neuron], params, jnp.eye(width), jnp.zeros(width), spike=spike)
    return jax.tree.map(lambda values: values[:, 0], unroll(layer, current[:, None]))


def sensitivity(neuron: str, params: LIFParams | AdLIFParams, current: Currents, spike: SpikeFn) -> Currents:
    """`d u_T / d I_t` of every step `t`, with `u_T` the membrane potential after the last; arguments as for `respond`.

    Example:
      >>> from seadlif_jax import spike_function
      >>> half = LIFParams(alpha=jnp.array([0.5]))
      >>> sensitivity("lif", half, jnp.zeros((4, 1)), spike_function())[:, 0].tolist()
      [0.0625, 0.125, 0.25, 0.5]
    """
    return jax.grad(lambda current: respond(neuron, params, current, spike).u[-1].sum())(current)
