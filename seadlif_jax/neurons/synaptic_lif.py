"""Current-based LIF neurons: the input current is filtered by a synapse before it reaches the membrane.

    i_t = alpha i_{t-1} + (1 - alpha) I_t                                alpha = exp(-1 / tau_syn)
    u_t = beta u_{t-1} + (1 - beta) i_t - threshold sg(z_{t-1})          beta  = exp(-1 / tau_u)
    z_t = H(u_t - threshold)

A spike lowers the membrane potential by the threshold, in the next step; sg stops the gradient of this reset.

Source: the second-order neuron of snnTorch (Eshraghian et al., 2023, "Training spiking neural networks using lessons
from deep learning"), `Synaptic`, whose currents are not scaled: `x_t = (1 - alpha) (1 - beta) I_t` there.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax

from seadlif_jax.neurons.neuron import (
    Neuron,
    PerNeuron,
    PerSample,
    Range,
    decay,
    interpolate,
    refuse_negative,
    refuse_nonpositive,
)
from seadlif_jax.neurons.surrogate import Number, Surrogate


class SynapticLIFCoefficients(NamedTuple):
    """Decays `alpha` of the synaptic current and `beta` of the membrane potential in a step."""

    alpha: PerNeuron
    beta: PerNeuron


class SynapticLIFState(NamedTuple):
    """Synaptic current `i`, membrane potential `u`, and spikes `z`, after step t."""

    i: PerSample
    u: PerSample
    z: PerSample

    @property
    def output(self) -> PerSample:
        return self.z


class SynapticLIF(Neuron):
    """LIF neurons with a synaptic time constant.

    Attributes:
      tau_syn: range in steps of the synaptic time constants; each neuron's is trained, as its position `k_syn` in 0..1.
      tau_u: range in steps of the membrane time constants, trained likewise as `k_u`.
      threshold: the membrane potential above which a neuron spikes.
      surrogate: the spike function and its surrogate gradient.

    Example:
      >>> SynapticLIF().parameters()
      {'k_syn': (0.0, 1.0), 'k_u': (0.0, 1.0)}
    """

    tau_syn: Range = (2.0, 10.0)
    tau_u: Range = (5.0, 25.0)
    threshold: Number = 1.0
    surrogate: Surrogate = Surrogate()

    State = SynapticLIFState

    @property
    def constant_threshold(self) -> Number:
        return self.threshold

    def parameters(self) -> Mapping[str, Range]:
        refuse_negative(self, "threshold")
        refuse_nonpositive(self, "tau_syn", "tau_u")
        return {"k_syn": (0.0, 1.0), "k_u": (0.0, 1.0)}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> SynapticLIFCoefficients:
        return SynapticLIFCoefficients(
            decay(interpolate(params["k_syn"], self.tau_syn)), decay(interpolate(params["k_u"], self.tau_u))
        )

    def step(
        self, coefficients: SynapticLIFCoefficients, state: SynapticLIFState, current: PerSample
    ) -> SynapticLIFState:
        """Return the state after step t."""
        alpha, beta = coefficients
        i = alpha * state.i + (1 - alpha) * current
        reset = self.threshold * jax.lax.stop_gradient(state.z)
        u = beta * state.u + (1 - beta) * i - reset
        return SynapticLIFState(i, u, self.surrogate(u - self.threshold))

    # The carry of the loop is less than the state: the spikes follow from the potential.

    def unpack(self, coefficients: SynapticLIFCoefficients, carry: tuple[PerSample, PerSample]) -> SynapticLIFState:
        i, u = carry
        return SynapticLIFState(i, u, self.surrogate(u - self.threshold))

    def pack(self, before: SynapticLIFState, after: SynapticLIFState) -> tuple[PerSample, PerSample]:
        return after.i, after.u
