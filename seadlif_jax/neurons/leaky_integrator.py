"""Leaky integrators, the neurons of the readout, which never spike: `y_t = alpha y_{t-1} + (1 - alpha) I_t`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from seadlif_jax.neurons.lif import alpha_bar
from seadlif_jax.neurons.neuron import Neuron, PerNeuron, PerSample, before_each


class LeakyIntegratorState(NamedTuple):
    """The membrane potential `y`, which is also the output."""

    y: PerSample

    @property
    def output(self) -> PerSample:
        return self.y


class LeakyIntegrator(Neuron):
    """Leaky integrators; their coefficient is the decay `alpha` of a step."""

    State = LeakyIntegratorState
    spiking = False
    kernel = "leaky_integrator"

    def step(self, coefficients: PerNeuron, state: LeakyIntegratorState, current: PerSample) -> LeakyIntegratorState:
        """Return `y_t`."""
        return LeakyIntegratorState(coefficients * state.y + (1 - coefficients) * current)

    # The residual of a step is `y` after it.

    def residual(self, carry: LeakyIntegratorState, current: PerSample) -> PerSample:
        return carry.y

    def replay(self, coefficients: PerNeuron, first: LeakyIntegratorState, residuals: Array) -> Array:
        return residuals

    def outputs(self, coefficients: PerNeuron, replayed: Array) -> Array:
        return replayed

    def backward(
        self,
        coefficients: PerNeuron,
        first: LeakyIntegratorState,
        residuals: Array,
        replayed: Array,
        last_bar: LeakyIntegratorState,
        output_bars: Array,
        recur: Callable[[Array], Array],
    ) -> tuple[Array, PerNeuron, LeakyIntegratorState]:
        """Return the gradients of a chunk of steps (see `Neuron.backward`), by hand."""
        alpha = coefficients

        def step_back(y_bar: Array, output_bar: Array) -> tuple[Array, Array]:
            y_bar = y_bar + output_bar
            current_bar = (1 - alpha) * y_bar
            return alpha * y_bar + recur(current_bar), current_bar

        first_bar, current_bars = jax.lax.scan(step_back, last_bar.y, output_bars, reverse=True)
        total = jnp.sum(current_bars * (before_each(first.y, residuals) - residuals), (0, 1))
        return current_bars, alpha_bar(alpha, total), LeakyIntegratorState(first_bar)
