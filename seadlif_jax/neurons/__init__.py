"""Neurons: equations, parameters, states and gradients, one file a family."""

from seadlif_jax.neurons.adlif import AdLIFCoefficients, AdLIFState, EFAdLIF, SEAdLIF
from seadlif_jax.neurons.leaky_integrator import LeakyIntegrator, LeakyIntegratorState
from seadlif_jax.neurons.lif import LIF, LIFCoefficients, LIFState
from seadlif_jax.neurons.lstm import LSTM, LSTMState
from seadlif_jax.neurons.neuron import Neuron, Range, decay, interpolate, symmetric_uniform
from seadlif_jax.neurons.registry import NEURONS, find_neuron
from seadlif_jax.neurons.surrogate import SURROGATES, Number, Scalar, Surrogate

__all__ = [
    "LIF",
    "LSTM",
    "NEURONS",
    "SURROGATES",
    "AdLIFCoefficients",
    "AdLIFState",
    "EFAdLIF",
    "LIFCoefficients",
    "LIFState",
    "LSTMState",
    "LeakyIntegrator",
    "LeakyIntegratorState",
    "Neuron",
    "Number",
    "Range",
    "SEAdLIF",
    "Scalar",
    "Surrogate",
    "decay",
    "find_neuron",
    "interpolate",
    "symmetric_uniform",
]
