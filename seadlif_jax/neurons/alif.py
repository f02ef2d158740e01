"""Adaptive LIF neurons whose threshold rises with every spike (ALIF).

    u_t     = alpha u_{t-1} + (1 - alpha) I_t - theta_t z_{t-1}      alpha = exp(-1 / tau_u)
    a_t     = rho a_{t-1} + (1 - rho) z_{t-1}                        rho   = exp(-1 / tau_a)
    theta_t = baseline + beta a_t
    z_t     = H(u_t - theta_t)

A spike lowers the membrane potential by the threshold, in the next step. The gradient goes through this reset, too.

Source: Bellec et al. (2018, arXiv 1803.09574), in the form of Yin, Corradi & Bohte (2021, "Accurate and efficient
time-domain classification with adaptive spiking recurrent neural networks"), whose settings are the defaults. There,
time constants start from normal distributions, which the ranges here have the mean and the deviation of; and states
start from small random values, here from zero.
"""

from collections.abc import Mapping
from typing import NamedTuple

from flax.linen import initializers

from seadlif_jax.neurons.neuron import (
    Initializer,
    Neuron,
    Parameter,
    PerNeuron,
    PerSample,
    Range,
    decay,
    refuse_negative,
)
from seadlif_jax.neurons.surrogate import LOBE_HEIGHT, SIGMAS, Number, Surrogate


class ALIFCoefficients(NamedTuple):
    """Decays `alpha` of the membrane potential and `rho` of the adaptation in a step."""

    alpha: PerNeuron
    rho: PerNeuron


class ALIFState(NamedTuple):
    """Membrane potential `u`, adaptation of the threshold `a`, and spikes `z`, after step t."""

    u: PerSample
    a: PerSample
    z: PerSample

    @property
    def output(self) -> PerSample:
        return self.z


class ALIF(Neuron):
    """Adaptive LIF neurons whose threshold rises with every spike.

    Attributes:
      tau_u: range in steps of the initial membrane time constants; each neuron's is trained, at 1 or more.
      tau_a: likewise, of the time constants of the adaptation.
      beta: strength of the adaptation.
      baseline: the threshold without adaptation.
      surrogate: the spike function and its surrogate gradient.

    Example:
      >>> sorted(ALIF().parameters())
      ['tau_a', 'tau_u']
    """

    tau_u: Range = (11.3, 28.7)  # 20 +- 5
    tau_a: Range = (132.7, 167.3)  # 150 +- 10
    beta: Number = 1.8
    baseline: Number = 0.01
    # 0.5 times Gaussians of the standard deviation 0.5.
    surrogate: Surrogate = Surrogate("multi_gaussian", SIGMAS["multi_gaussian"] / 0.5, 0.5 * (1 - LOBE_HEIGHT))

    State = ALIFState

    def parameters(self) -> Mapping[str, Parameter]:
        refuse_negative(self, "baseline")
        at_least_1 = (1.0, float("inf"))
        return {"tau_u": Parameter(self.tau_u, at_least_1), "tau_a": Parameter(self.tau_a, at_least_1)}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> ALIFCoefficients:
        return ALIFCoefficients(decay(params["tau_u"]), decay(params["tau_a"]))

    def step(self, coefficients: ALIFCoefficients, state: ALIFState, current: PerSample) -> ALIFState:
        """Return the state after step t."""
        alpha, rho = coefficients
        a = rho * state.a + (1 - rho) * state.z
        threshold = self.baseline + self.beta * a
        u = alpha * state.u + (1 - alpha) * current - threshold * state.z
        return ALIFState(u, a, self.surrogate(u - threshold))

    # The carry of the loop is less than the state: the spikes follow from the rest.

    def unpack(self, coefficients: ALIFCoefficients, carry: tuple[PerSample, PerSample]) -> ALIFState:
        u, a = carry
        return ALIFState(u, a, self.surrogate(u - self.baseline - self.beta * a))

    def pack(self, before: ALIFState, after: ALIFState) -> tuple[PerSample, PerSample]:
        return after.u, after.a

    def initial_weights(self, channels: int, features: int) -> Mapping[str, Initializer]:
        """Return the initializers of a layer's weights: `kernel` by Glorot, uniform; others as for other neurons."""
        return {**super().initial_weights(channels, features), "kernel": initializers.glorot_uniform()}
