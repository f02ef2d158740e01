"""Leaky integrate-and-fire (LIF) neurons.

    u^_t = alpha u_{t-1} + (1 - alpha) I_t        alpha = exp(-1 / tau_u)
    z_t  = H(u^_t - threshold)
    u_t  = u^_t (1 - sg(z_t))                     reset to zero; sg stops the gradient

Source: Baronig, Ferrand, Sabathiel & Legenstein (arXiv 2408.07517), "The leaky integrate-and-fire neuron".
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from seadlif_jax.neurons.neuron import Neuron, PerNeuron, PerSample, Range, decay, interpolate
from seadlif_jax.neurons.surrogate import Number, Surrogate


class LIFCoefficients(NamedTuple):
    """Decay of the membrane potential in a step."""

    alpha: PerNeuron


class LIFState(NamedTuple):
    """Membrane potential `u` after the reset, and spikes `z`."""

    u: PerSample
    z: PerSample

    @property
    def output(self) -> PerSample:
        return self.z


class LIF(Neuron):
    """Leaky integrate-and-fire neurons.

    Attributes:
      tau_u: range in steps of the membrane time constants; each neuron's is trained, as its position `k_u` in [0, 1].
      threshold: the membrane potential above which a neuron spikes.
      surrogate: the spike function and its surrogate gradient.

    Example:
      >>> LIF(tau_u=(5.0, 50.0)).parameters()
      {'k_u': (0.0, 1.0)}
    """

    tau_u: Range = (5.0, 25.0)
    threshold: Number = 1.0
    surrogate: Surrogate = Surrogate()

    State = LIFState

    def parameters(self) -> Mapping[str, Range]:
        return {"k_u": (0.0, 1.0)}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> LIFCoefficients:
        return LIFCoefficients(decay(interpolate(params["k_u"], self.tau_u)))

    def step(self, coefficients: LIFCoefficients, state: LIFState, current: PerSample) -> LIFState:
        """Return `u_t` and `z_t`."""
        u_hat = self._membrane(coefficients, state, current)
        z = self.surrogate(u_hat - jax.lax.stop_gradient(self.threshold))
        return LIFState(u_hat * (1 - jax.lax.stop_gradient(z)), z)

    def _membrane(self, coefficients: LIFCoefficients, state: LIFState, current: PerSample) -> PerSample:
        """Return `u^_t`, the membrane potential before the reset."""
        return coefficients.alpha * state.u + (1 - coefficients.alpha) * current

    def residual(self, coefficients: LIFCoefficients, state: LIFState, current: PerSample) -> PerSample:
        return self._membrane(coefficients, state, current)

    def outputs(self, coefficients: LIFCoefficients, first: LIFState, residuals: Array) -> Array:
        return self.surrogate(residuals - self.threshold)

    def backward(
        self,
        coefficients: LIFCoefficients,
        first: LIFState,
        residuals: Array,
        last_bar: LIFState,
        output_bars: Array,
        recur: Callable[[Array], Array],
    ) -> tuple[Array, LIFCoefficients, LIFState]:
        """Return the gradients of a chunk of steps (see `Neuron.backward`), by hand: from `u^_t` alone."""
        alpha = coefficients.alpha

        def step_back(bar: LIFState, step: tuple[Array, Array]) -> tuple[LIFState, Array]:
            u_hat, output_bar = step
            v = u_hat - self.threshold
            u_hat_bar = bar.u * (1 - self.surrogate(v)) + (bar.z + output_bar) * self.surrogate.derivative(v)
            current_bar = (1 - alpha) * u_hat_bar
            return LIFState(alpha * u_hat_bar, recur(current_bar)), current_bar

        first_bar, current_bars = jax.lax.scan(step_back, last_bar, (residuals, output_bars), reverse=True)
        before = after_reset(first.u, residuals, self.outputs(coefficients, first, residuals))
        return current_bars, LIFCoefficients(alpha_bar(alpha, before, residuals, current_bars)), first_bar


def alpha_bar(alpha: PerNeuron, u_before: Array, u_hats: Array, current_bars: Array) -> PerNeuron:
    """Return the gradient for `alpha` of all steps `u^_t = alpha u_{t-1} + (1 - alpha) drive_t`.

    It is `sum_t u^_bar_t (u_{t-1} - drive_t)`. The drive is not kept, but it follows from the rest:
    `u_{t-1} - drive_t = (u_{t-1} - u^_t) / (1 - alpha)`, and likewise `u^_bar_t = current_bar_t / (1 - alpha)`. All
    arrays are `[time, batch, neuron]`.
    """
    scale = (1 - alpha) ** 2
    # A time constant so long that alpha is rounded to 1 cannot be trained.
    total = jnp.sum(current_bars * (u_before - u_hats), (0, 1))
    return jnp.where(scale > 0, total / jnp.where(scale > 0, scale, 1), 0)


def after_reset(first_u: PerSample, u_hats: Array, z: Array) -> Array:
    """Return `u` before every step of a chunk, from the membrane potentials before the reset and the spikes."""
    return jnp.concatenate([first_u[None], u_hats[:-1] * (1 - z[:-1])])
