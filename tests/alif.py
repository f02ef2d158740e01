"""A neuron as a user would write one: an adaptive threshold (Bellec et al., 2018)."""

from typing import NamedTuple

import jax

from seadlif_jax.neurons import Neuron, Range, Surrogate, decay, interpolate


class State(NamedTuple):
    u: jax.Array
    b: jax.Array
    z: jax.Array
    output = property(lambda self: self.z)


class ALIF(Neuron):
    tau_u: Range = (5.0, 25.0)
    tau_b: Range = (30.0, 300.0)
    strength: float = 1.8
    threshold: float = 1.0
    surrogate: Surrogate = Surrogate()
    State = State

    def parameters(self):
        return {"k_u": (0.0, 1.0), "k_b": (0.0, 1.0)}

    def coefficients(self, params):
        return decay(interpolate(params["k_u"], self.tau_u)), decay(interpolate(params["k_b"], self.tau_b))

    def step(self, coefficients, state, current):
        alpha, rho = coefficients
        b = rho * state.b + (1 - rho) * state.z
        threshold = jax.lax.stop_gradient(self.threshold) + self.strength * b
        u = alpha * state.u + (1 - alpha) * current - threshold * state.z
        return State(u, b, self.surrogate(u - threshold))
