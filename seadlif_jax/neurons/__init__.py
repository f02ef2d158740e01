"""Neurons: equations, parameters, states and gradients, one file a family."""

from seadlif_jax.neurons.adlif import AdLIFCoefficients, AdLIFState, EFAdLIF, SEAdLIF
from seadlif_jax.neurons.alif import ALIF, ALIFState
from seadlif_jax.neurons.brf import BRF, BRFState
from seadlif_jax.neurons.leaky_integrator import LeakyIntegrator, LeakyIntegratorState
from seadlif_jax.neurons.lif import LIF, LIFCoefficients, LIFState
from seadlif_jax.neurons.lstm import LSTM, LSTMState
from seadlif_jax.neurons.neuron import Neuron, Parameter, Range, decay, interpolate, symmetric_uniform
from seadlif_jax.neurons.radlif import RadLIF, RadLIFState, SiLIF
from seadlif_jax.neurons.registry import NEURONS, find_neuron
from seadlif_jax.neurons.surrogate import SURROGATES, Number, Scalar, Surrogate
from seadlif_jax.neurons.synaptic_lif import SynapticLIF, SynapticLIFState

__all__ = [
    "ALIF",
    "BRF",
    "LIF",
    "LSTM",
    "NEURONS",
    "SURROGATES",
    "ALIFState",
    "AdLIFCoefficients",
    "AdLIFState",
    "BRFState",
    "EFAdLIF",
    "LIFCoefficients",
    "LIFState",
    "LSTMState",
    "LeakyIntegrator",
    "LeakyIntegratorState",
    "Neuron",
    "Number",
    "Parameter",
    "RadLIF",
    "RadLIFState",
    "Range",
    "SEAdLIF",
    "Scalar",
    "SiLIF",
    "Surrogate",
    "SynapticLIF",
    "SynapticLIFState",
    "decay",
    "find_neuron",
    "interpolate",
    "symmetric_uniform",
]
