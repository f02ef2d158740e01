"""Neuron dynamics: pure functions that advance a state by one time step.

    step(params, state, current, spike) -> state

`current` is everything that reaches the neurons in this step, feed-forward and recurrent. Time is counted in steps
(dt = 1); the decays are `alpha = exp(-1 / tau_u)` and `beta = exp(-1 / tau_w)` with the time constants in steps.
Arrays are `[..., neuron]`; parameters are `[neuron]` and broadcast. A state starts at zero, and `state.output` is what
the neurons send on.

Equations: Baronig, Ferrand, Sabathiel & Legenstein, "Advancing Spatio-Temporal Processing in Spiking Neural Networks
through Adaptation" (arXiv 2408.07517), sections "Adaptive LIF" and "Symplectic Euler".
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seadlif_jax.neurons.surrogate import Scalar, SpikeFn

PerNeuron = Float[Array, "neuron"]
Neurons = Float[Array, "*batch neuron"]


class LIFParams(NamedTuple):
    """Parameters of a LIF layer: the membrane's decay, and the firing threshold, a constant of at least 0."""

    alpha: PerNeuron
    threshold: Scalar = 1.0


class LIFState(NamedTuple):
    """Membrane potential `u` after reset, and spikes `z`."""

    u: Neurons
    z: Neurons

    @property
    def output(self) -> Neurons:
        return self.z


class AdLIFParams(NamedTuple):
    """Parameters of an adaptive LIF layer.

    `alpha` and `beta` are the decays of membrane potential and adaptation current, `a` couples the adaptation to the
    membrane potential, `b` to the spikes, and `q` scales both. The firing threshold is a constant of at least 0.
    """

    alpha: PerNeuron
    beta: PerNeuron
    a: PerNeuron
    b: PerNeuron
    q: Scalar
    threshold: Scalar = 1.0


class AdLIFState(NamedTuple):
    """Membrane potential `u` after reset, adaptation current `w`, and spikes `z`."""

    u: Neurons
    w: Neurons
    z: Neurons

    @property
    def output(self) -> Neurons:
        return self.z


class LIParams(NamedTuple):
    """The decay of a leaky integrator."""

    alpha: PerNeuron


class LIState(NamedTuple):
    """The membrane potential `y` of a leaky integrator, which is also its output."""

    y: Neurons

    @property
    def output(self) -> Neurons:
        return self.y


class LSTMState(NamedTuple):
    """Cell state `c` and hidden state `h`."""

    c: Neurons
    h: Neurons

    @property
    def output(self) -> Neurons:
        return self.h


def _membrane(params: LIFParams | AdLIFParams, u: Neurons, drive: Neurons, spike: SpikeFn) -> tuple[Neurons, Neurons]:
    """`u^ = alpha u + (1 - alpha) drive`, `z = H(u^ - threshold)`, `u = u^ (1 - sg(z))`; returns `u, z`."""
    u = params.alpha * u + (1 - params.alpha) * drive
    z = spike(u - jax.lax.stop_gradient(params.threshold))
    # No gradient through the reset: it would oppose the one through the spike.
    return u * (1 - jax.lax.stop_gradient(z)), z


def lif(params: LIFParams, state: LIFState, current: Neurons, spike: SpikeFn) -> LIFState:
    """Leaky integrate-and-fire: `u^_t = alpha u_{t-1} + (1 - alpha) I_t`, reset to zero by a spike."""
    u, z = _membrane(params, state.u, current, spike)
    return LIFState(u, z)


def ef_adlif(params: AdLIFParams, state: AdLIFState, current: Neurons, spike: SpikeFn) -> AdLIFState:
    """Adaptive LIF, Euler-forward: the adaptation follows the *previous* membrane potential and spike.

    u^_t = alpha u_{t-1} + (1 - alpha) (I_t - w_{t-1})
    w_t  = beta w_{t-1} + (1 - beta) q (a u_{t-1} + b z_{t-1})
    """
    u, z = _membrane(params, state.u, current - state.w, spike)
    w = _adaptation(params, state.w, state.u, state.z)
    return AdLIFState(u, w, z)


def se_adlif(params: AdLIFParams, state: AdLIFState, current: Neurons, spike: SpikeFn) -> AdLIFState:
    """Adaptive LIF, Symplectic Euler: the adaptation follows the *new* membrane potential (after reset) and spike.

    u^_t = alpha u_{t-1} + (1 - alpha) (I_t - w_{t-1})
    w_t  = beta w_{t-1} + (1 - beta) q (a u_t + b z_t)
    """
    u, z = _membrane(params, state.u, current - state.w, spike)
    w = _adaptation(params, state.w, u, z)
    return AdLIFState(u, w, z)


def _adaptation(params: AdLIFParams, w: Neurons, u: Neurons, z: Neurons) -> Neurons:
    """`beta w + (1 - beta) q (a u + b z)`."""
    return params.beta * w + (1 - params.beta) * params.q * (params.a * u + params.b * z)


def leaky_integrator(params: LIParams, state: LIState, current: Neurons, spike: SpikeFn | None = None) -> LIState:
    """A readout neuron, which never spikes: `y_t = alpha y_{t-1} + (1 - alpha) I_t`."""
    del spike
    return LIState(params.alpha * state.y + (1 - params.alpha) * current)


def lstm(
    params: None, state: LSTMState, current: Float[Array, "*batch gates"], spike: SpikeFn | None = None
) -> LSTMState:
    """Long short-term memory (Hochreiter & Schmidhuber, 1997), the baseline that does not spike.

    `current` holds the four gates side by side, in the order input, forget, cell, output:
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),  h_t = sigmoid(o) tanh(c_t)
    """
    del params, spike
    i, f, g, o = jnp.split(current, 4, axis=-1)
    c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return LSTMState(c, jax.nn.sigmoid(o) * jnp.tanh(c))


class Neuron(NamedTuple):
    """What a layer must know of its neuron: step function, type of the state, and number of currents a neuron takes."""

    step: Callable[..., Any]
    state: type
    gates: int = 1

    @property
    def spikes(self) -> bool:
        """Whether what a neuron sends on is spikes."""
        return "z" in self.state._fields  # type: ignore[attr-defined]


NEURONS: Mapping[str, Neuron] = MappingProxyType(
    {
        "lif": Neuron(lif, LIFState),
        "ef_adlif": Neuron(ef_adlif, AdLIFState),
        "se_adlif": Neuron(se_adlif, AdLIFState),
        "lstm": Neuron(lstm, LSTMState, gates=4),
    }
)
"""The neurons of hidden layers, by name: `lif`, `ef_adlif`, `se_adlif`, `lstm`."""

LEAKY_INTEGRATOR = Neuron(leaky_integrator, LIState)  # of the readout; no hidden layer has it

State = TypeVar("State", LIFState, AdLIFState, LIState, LSTMState)


def zero_state(state: type[State], shape: tuple[int, ...]) -> State:
    """The state before the first step: zeros of `shape` (`[..., neuron]`) in every field."""
    zeros = jnp.zeros(shape)
    return state(*(zeros for _ in state._fields))


def decay(tau: Float[Array, "..."]) -> Float[Array, "..."]:
    """The factor `exp(-1 / tau)` by which a potential with time constant `tau` (in steps) shrinks in one step."""
    return jnp.exp(-1 / tau)
