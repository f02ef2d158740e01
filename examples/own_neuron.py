"""LIF neurons with a slow dendrite, whose potential is added to the current; see docs/own-neuron.md."""

from typing import NamedTuple

import jax

from seadlif_jax.neurons import Neuron, Surrogate, decay, interpolate


class State(NamedTuple):
    u: jax.Array  # membrane potential
    d: jax.Array  # potential of the dendrite
    z: jax.Array  # spikes
    output = property(lambda self: self.z)


class DendriticLIF(Neuron):
    tau_u: tuple = (5.0, 25.0)
    tau_d: tuple = (60.0, 300.0)
    gain: float = 2.0
    surrogate: Surrogate = Surrogate(c=0.2)  # with 0.4, as for our neurons, its gradients explode
    State = State

    def parameters(self):
        return {"k_u": (0.0, 1.0), "k_d": (0.0, 1.0)}

    def coefficients(self, params):
        return decay(interpolate(params["k_u"], self.tau_u)), decay(interpolate(params["k_d"], self.tau_d))

    def step(self, coefficients, state, current):
        alpha, delta = coefficients
        d = delta * state.d + (1 - delta) * current
        u = alpha * state.u + (1 - alpha) * (current + self.gain * d)
        z = self.surrogate(u - 1)
        return State(u * (1 - jax.lax.stop_gradient(z)), d, z)
