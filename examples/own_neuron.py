"""Adaptive LIF neurons whose threshold, `1 + beta a`, rises with every spike (ALIF); see docs/own-neuron.md."""

from typing import NamedTuple

import jax

from seadlif_jax.neurons import Neuron, Surrogate, decay, interpolate


class State(NamedTuple):
    u: jax.Array  # membrane potential
    a: jax.Array  # adaptation of the threshold
    z: jax.Array  # spikes
    output = property(lambda self: self.z)


class ALIF(Neuron):
    tau_u: tuple = (5.0, 25.0)
    tau_a: tuple = (60.0, 300.0)
    beta: float = 10.0
    surrogate: Surrogate = Surrogate()
    State = State

    def parameters(self):
        return {"k_u": (0.0, 1.0), "k_a": (0.0, 1.0)}

    def coefficients(self, params):
        return decay(interpolate(params["k_u"], self.tau_u)), decay(interpolate(params["k_a"], self.tau_a))

    def step(self, coefficients, state, current):
        alpha, rho = coefficients
        u = alpha * state.u + (1 - alpha) * current
        a = rho * state.a + (1 - rho) * state.z
        z = self.surrogate(u - 1 - self.beta * a)
        return State(u * (1 - jax.lax.stop_gradient(z)), a, z)
