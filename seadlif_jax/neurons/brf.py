"""Balanced resonate-and-fire (BRF) neurons: damped oscillators that spike at the crests.

    b_t = p(omega) - b_offset - q_{t-1}                  p(omega) = (-1 + sqrt(1 - (dt omega)^2)) / dt
    u_t = u_{t-1} + dt (b_t u_{t-1} - omega v_{t-1} + I_t)
    v_t = v_{t-1} + dt (omega u_{t-1} + b_t v_{t-1})
    z_t = H(u_t - theta - q_{t-1})
    q_t = gamma q_{t-1} + z_t

At the divergence boundary `p(omega)` an oscillation neither grows nor decays. After a spike, the refractory variable
`q` raises the threshold and damps the oscillation; there is no reset. The gradient goes through all of it.

Source: Higuchi, Kairat, Bohte & Otte (2024, "Balanced Resonate-and-Fire Neurons", arXiv 2402.14603). There, omega and
b_offset are kept positive by their absolute values, here by projection.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from flax.linen import initializers

from seadlif_jax.neurons.neuron import (
    Initializer,
    Neuron,
    Parameter,
    PerNeuron,
    PerSample,
    Range,
    refuse_negative,
    symmetric_uniform,
)
from seadlif_jax.neurons.surrogate import LOBE_HEIGHT, SIGMAS, Number, Surrogate


class BRFCoefficients(NamedTuple):
    """Rotation `dt omega` and damping `dt (p(omega) - b_offset)` in a step."""

    rotation: PerNeuron
    damping: PerNeuron


class BRFState(NamedTuple):
    """Membrane potential `u`, its quadrature `v`, refractory variable `q`, and spikes `z`, after step t."""

    u: PerSample
    v: PerSample
    q: PerSample
    z: PerSample

    @property
    def output(self) -> PerSample:
        return self.z


class BRFCarry(NamedTuple):
    """Carry of the loop: `u_t`, `v_t` and `q_{t-1}`."""

    u: PerSample
    v: PerSample
    q_before: PerSample


class BRF(Neuron):
    """Balanced resonate-and-fire neurons.

    Attributes:
      omega: range of the initial angular frequencies, in radians per unit of `dt`; trained, at most `0.99 / dt`.
      b_offset: range of the initial distances to the divergence boundary; trained.
      dt: length of a step, in the units of `omega` and `b_offset`; not that of the data.
      gamma: decay of the refractory variable in a step.
      theta: the threshold of a neuron that has not spiked lately.
      surrogate: the spike function and its surrogate gradient.

    Example:
      >>> sorted(BRF().parameters())
      ['b_offset', 'omega']
    """

    omega: Range = (5.0, 10.0)
    b_offset: Range = (2.0, 3.0)
    dt: Number = 0.01
    gamma: Number = 0.9
    theta: Number = 1.0
    # 0.5 times Gaussians of the standard deviation 0.5.
    surrogate: Surrogate = Surrogate("double_gaussian", SIGMAS["double_gaussian"] / 0.5, 0.5 * (1 - LOBE_HEIGHT))

    State = BRFState

    def parameters(self) -> Mapping[str, Parameter]:
        refuse_negative(self, "theta")
        # The slope of p(omega) is infinite at 1 / dt.
        return {
            "omega": Parameter(self.omega, (0.0, 0.99 / self.dt)),
            "b_offset": Parameter(self.b_offset, (0.0, float("inf"))),
        }

    def coefficients(self, params: Mapping[str, PerNeuron]) -> BRFCoefficients:
        rotation = self.dt * params["omega"]
        return BRFCoefficients(rotation, jnp.sqrt(1 - rotation**2) - 1 - self.dt * params["b_offset"])

    def step(self, coefficients: BRFCoefficients, state: BRFState, current: PerSample) -> BRFState:
        """Return the state after step t."""
        rotation, damping = coefficients
        decay = 1 + damping - self.dt * state.q
        u = decay * state.u - rotation * state.v + self.dt * current
        v = decay * state.v + rotation * state.u
        z = self.surrogate(u - self.theta - state.q)
        return BRFState(u, v, self.gamma * state.q + z, z)

    # The carry of the loop is less than the state: `z_t` and `q_t` follow from `u_t` and `q_{t-1}`.

    def unpack(self, coefficients: BRFCoefficients, carry: BRFCarry) -> BRFState:
        z = self.surrogate(carry.u - self.theta - carry.q_before)
        return BRFState(carry.u, carry.v, self.gamma * carry.q_before + z, z)

    def pack(self, before: BRFState, after: BRFState) -> BRFCarry:
        return BRFCarry(after.u, after.v, before.q)

    def initial_weights(self, channels: int, features: int) -> Mapping[str, Initializer]:
        """Return the initializers of a layer's weights: both kernels as one, by Glorot, uniform; `bias` zero."""
        uniform = symmetric_uniform((channels + 2 * features) / 6)
        return {"kernel": uniform, "bias": initializers.zeros, "recurrent_kernel": uniform}
