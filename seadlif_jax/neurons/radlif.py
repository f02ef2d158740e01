"""Adaptive LIF neurons with a soft reset: (R)adLIF of Bittar & Garner, and SiLIF.

    w_t = beta w_{t-1} + a u_{t-1} + b z_{t-1}
    u_t = alpha (u_{t-1} - z_{t-1}) + (1 - alpha) (I_t - w_t)
    z_t = H(u_t - threshold)

A spike lowers the membrane potential by 1, in the next step. The gradient goes through this reset, too. The adaptation
current has no scale `(1 - beta) q`, unlike in adlif.py. The two neurons differ in how the decays are trained:

    RadLIF:  alpha and beta themselves
    SiLIF:   alpha = exp(-dt rate_u), beta = exp(-dt rate_w), with the logarithms of dt and of both rates

Sources: Bittar & Garner (2022, "A surrogate gradient spiking baseline for speech command recognition"): adLIF is
`RadLIF` in a layer without recurrence, and their RadLIF in one without connections of a neuron to itself
(`RecurrentLayer(self_connections=False)`). Fabre et al. (2025, "Structured State Space Model Dynamics and
Parametrization for Spiking Neural Networks"): SiLIF. In both programs, currents are normalised over a batch before
(`RecurrentLayer(batch_norm=BatchNorm())`), and states start from random values; here, from zero.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
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
    refuse_nonpositive,
)
from seadlif_jax.neurons.surrogate import Number, Surrogate


class RadLIFCoefficients(NamedTuple):
    """Decays `alpha`, `beta` of membrane potential and adaptation current in a step; couplings `a`, `b`."""

    alpha: PerNeuron
    beta: PerNeuron
    a: PerNeuron
    b: PerNeuron


class RadLIFState(NamedTuple):
    """Membrane potential `u`, adaptation current `w`, and spikes `z`, after step t."""

    u: PerSample
    w: PerSample
    z: PerSample

    @property
    def output(self) -> PerSample:
        return self.z


class _SoftReset(Neuron):
    """The step that both neurons share."""

    if TYPE_CHECKING:
        threshold: Number
        surrogate: Surrogate

    State = RadLIFState

    @property
    def constant_threshold(self) -> Number:
        return self.threshold

    def step(self, coefficients: RadLIFCoefficients, state: RadLIFState, current: PerSample) -> RadLIFState:
        """Return the state after step t."""
        alpha, beta, a, b = coefficients
        w = beta * state.w + a * state.u + b * state.z
        u = alpha * (state.u - state.z) + (1 - alpha) * (current - w)
        return RadLIFState(u, w, self.surrogate(u - self.threshold))

    # The carry of the loop is less than the state: the spikes follow from the potential.

    def unpack(self, coefficients: RadLIFCoefficients, carry: tuple[PerSample, PerSample]) -> RadLIFState:
        u, w = carry
        return RadLIFState(u, w, self.surrogate(u - self.threshold))

    def pack(self, before: RadLIFState, after: RadLIFState) -> tuple[PerSample, PerSample]:
        return after.u, after.w


class RadLIF(_SoftReset):
    """Adaptive LIF neurons with a soft reset, of Bittar & Garner.

    Attributes:
      tau_u: range in steps of the membrane time constants; each neuron's decay is trained between those of its ends.
      tau_w: range in steps of the adaptation time constants, likewise.
      a: range of the coupling of the adaptation to the membrane potential, trained.
      b: range of the coupling of the adaptation to the spikes, trained.
      threshold: the membrane potential above which a neuron spikes.
      surrogate: the spike function and its surrogate gradient.

    Example:
      >>> sorted(RadLIF().parameters())
      ['a', 'alpha', 'b', 'beta']
    """

    tau_u: Range = (5.0, 25.0)
    tau_w: Range = (30.0, 120.0)
    a: Range = (-1.0, 1.0)
    b: Range = (0.0, 2.0)
    threshold: Number = 1.0
    surrogate: Surrogate = Surrogate("boxcar", slope=2.0, c=1.0)

    def parameters(self) -> Mapping[str, Range]:
        refuse_negative(self, "threshold")
        refuse_nonpositive(self, "tau_u", "tau_w")
        alpha, beta = (tuple(decay(jnp.asarray(tau)) for tau in taus) for taus in (self.tau_u, self.tau_w))
        return {"alpha": alpha, "beta": beta, "a": self.a, "b": self.b}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> RadLIFCoefficients:
        return RadLIFCoefficients(params["alpha"], params["beta"], params["a"], params["b"])


class SiLIF(_SoftReset):
    """Adaptive LIF neurons with a soft reset, whose decays are parametrised like those of state space models.

    Attributes:
      dt: range in seconds of the initial step of a neuron; its logarithm is trained.
      rate_u: range in 1/s of the initial rates at which the membrane potential decays; their logarithms are trained.
      rate_w: likewise, for the adaptation current.
      a: range of the coupling of the adaptation to the membrane potential, trained.
      b: range of the coupling of the adaptation to the spikes, trained.
      threshold: the membrane potential above which a neuron spikes.
      surrogate: the spike function and its surrogate gradient.

    Example:
      >>> sorted(SiLIF().parameters())
      ['a', 'b', 'log_dt', 'log_rate_u', 'log_rate_w']
    """

    dt: Range = (0.004, 0.004)
    rate_u: Range = (10.0, 250.0)
    rate_w: Range = (2.5, 10.0)
    a: Range = (0.0, 1.0)
    b: Range = (0.0, 2.0)
    threshold: Number = 1.0
    surrogate: Surrogate = Surrogate("boxcar", slope=2.0, c=1.0)

    def parameters(self) -> Mapping[str, Range | Parameter]:
        refuse_negative(self, "threshold")
        refuse_nonpositive(self, "dt", "rate_u", "rate_w")
        logarithms = {
            f"log_{name}": Parameter((jnp.log(low), jnp.log(high)))
            for name, (low, high) in {"dt": self.dt, "rate_u": self.rate_u, "rate_w": self.rate_w}.items()
        }
        return {**logarithms, "a": self.a, "b": self.b}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> RadLIFCoefficients:
        alpha, beta = (jnp.exp(-jnp.exp(params["log_dt"] + params[f"log_{rate}"])) for rate in ("rate_u", "rate_w"))
        return RadLIFCoefficients(alpha, beta, params["a"], params["b"])

    def initial_weights(self, channels: int, features: int) -> Mapping[str, Initializer]:
        """Return the initializers of a layer's weights: `kernel` by Glorot, uniform; others as for other neurons."""
        return {**super().initial_weights(channels, features), "kernel": initializers.glorot_uniform()}
