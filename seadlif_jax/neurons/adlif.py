"""Adaptive leaky integrate-and-fire (adLIF) neurons, discretised by Euler-forward (EF) and by Symplectic Euler (SE).

    u^_t = alpha u_{t-1} + (1 - alpha) (I_t - w_{t-1})              alpha = exp(-1 / tau_u)
    z_t  = H(u^_t - threshold)                                      beta  = exp(-1 / tau_w)
    u_t  = u^_t (1 - sg(z_t))                                       sg stops the gradient
    EF:  w_t = beta w_{t-1} + (1 - beta) q (a u_{t-1} + b z_{t-1})
    SE:  w_t = beta w_{t-1} + (1 - beta) q (a u_t + b z_t)

The adaptation current `w` follows the *previous* membrane potential and spike in EF, the *new* ones in SE: that is the
only difference.

Source: Baronig, Ferrand, Sabathiel & Legenstein (arXiv 2408.07517), "Adaptive LIF" and "Symplectic Euler".

**Gradient by hand.** With `x_bar` for the gradient of the loss for `x`, and `a`, `b` including `(1 - beta) q`, the
backward pass goes from step t to t - 1 by

    SE:  u_bar += a w_bar,  z_bar += b w_bar                        w_t depends on u_t and z_t
    u^_bar = u_bar (1 - z_t) + z_bar H'(u^_t - threshold)
    I_bar  = (1 - alpha) u^_bar
    u_bar  = alpha u^_bar,  z_bar = W_rec I_bar,  w_bar = beta w_bar - I_bar
    EF:  u_bar += a w_bar,  z_bar += b w_bar                        with w_bar of w_t, which depends on u_{t-1}, z_{t-1}

`u^` is all that this takes from the forward pass. The gradient for beta, `sum_t w_bar_t w_{t-1}`, seems to need the
adaptation current too. But `w` is a filter of its sources `s = a u + b z`; with the filter turned around, onto `w_bar`,
the sum becomes `w_0 p_0 + sum_t p_t s_t`, where `p_{t-1} = w_bar_t + beta p_t`, and `p = 0` behind the last step. It is
carried along the backward loop, like the sums for `a` and `b`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from seadlif_jax.neurons.lif import after_reset, alpha_bar
from seadlif_jax.neurons.neuron import Neuron, PerNeuron, PerSample, Range, decay, interpolate
from seadlif_jax.neurons.surrogate import Number, Surrogate


class AdLIFCoefficients(NamedTuple):
    """Decays `alpha`, `beta` of membrane potential and adaptation current; couplings `a`, `b`, times `(1 - beta) q`."""

    alpha: PerNeuron
    beta: PerNeuron
    a: PerNeuron
    b: PerNeuron


class AdLIFState(NamedTuple):
    """Membrane potential `u` after the reset, adaptation current `w`, and spikes `z`."""

    u: PerSample
    w: PerSample
    z: PerSample

    @property
    def output(self) -> PerSample:
        return self.z


class _AdLIF(Neuron):
    """All that EF and SE share.

    Attributes:
      tau_u: range in steps of the membrane time constants; each neuron's is trained, as its position `k_u` in [0, 1].
      tau_w: range in steps of the adaptation time constants, trained likewise as `k_w`.
      a: range of the coupling of the adaptation to the membrane potential, trained.
      b: range of the coupling of the adaptation to the spikes, trained.
      q: scale of both couplings.
      threshold: the membrane potential above which a neuron spikes.
      surrogate: the spike function and its surrogate gradient.
    """

    tau_u: Range = (5.0, 25.0)
    tau_w: Range = (60.0, 300.0)
    a: Range = (0.0, 1.0)
    b: Range = (0.0, 2.0)
    q: Number = 120.0
    threshold: Number = 1.0
    surrogate: Surrogate = Surrogate()

    State = AdLIFState

    def parameters(self) -> Mapping[str, Range]:
        return {"k_u": (0.0, 1.0), "k_w": (0.0, 1.0), "a": self.a, "b": self.b}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> AdLIFCoefficients:
        alpha = decay(interpolate(params["k_u"], self.tau_u))
        beta = decay(interpolate(params["k_w"], self.tau_w))
        scale = (1 - beta) * self.q
        return AdLIFCoefficients(alpha, beta, scale * params["a"], scale * params["b"])

    def _membrane(self, coefficients: AdLIFCoefficients, state: AdLIFState, current: PerSample) -> PerSample:
        """Return `u^_t`, the membrane potential before the reset."""
        return coefficients.alpha * state.u + (1 - coefficients.alpha) * (current - state.w)

    def _spike(self, u_hat: PerSample) -> tuple[PerSample, PerSample]:
        """Return `u_t` and `z_t`. No gradient goes through the reset: it would oppose the one through the spike."""
        z = self.surrogate(u_hat - jax.lax.stop_gradient(self.threshold))
        return u_hat * (1 - jax.lax.stop_gradient(z)), z

    def residual(self, coefficients: AdLIFCoefficients, state: AdLIFState, current: PerSample) -> PerSample:
        return self._membrane(coefficients, state, current)

    def outputs(self, coefficients: AdLIFCoefficients, first: AdLIFState, residuals: Array) -> Array:
        return self.surrogate(residuals - self.threshold)

    def _backward(
        self,
        symplectic: bool,
        coefficients: AdLIFCoefficients,
        first: AdLIFState,
        residuals: Array,
        last_bar: AdLIFState,
        output_bars: Array,
        recur: Callable[[Array], Array],
    ) -> tuple[Array, AdLIFCoefficients, AdLIFState]:
        """Return the gradients of a chunk of steps (see `Neuron.backward`), by hand: from `u^_t` alone."""
        alpha, beta, a, b = coefficients

        def add_source(bar: AdLIFState, w_bar: Array, u: Array, z: Array, sums: _Sums) -> tuple[AdLIFState, _Sums]:
            """Go from an adaptation current back to its source, the state `u`, `z`."""
            sums = _Sums(
                p=w_bar + beta * sums.p,
                beta=sums.beta + sums.p * (a * u + b * z),
                a=sums.a + w_bar * u,
                b=sums.b + w_bar * z,
            )
            return bar._replace(u=bar.u + a * w_bar, z=bar.z + b * w_bar), sums

        def through_spike(bar: AdLIFState, u_hat: Array, output_bar: Array, w_bar: Array, sums: _Sums) -> _Carry:
            """Go from the state of a step back to its membrane potential before the reset."""
            v = u_hat - self.threshold
            z = self.surrogate(v)
            # The state is the source of w_t for SE, of w_{t+1} for EF.
            with_source, sums = add_source(bar, bar.w if symplectic else w_bar, u_hat * (1 - z), z, sums)
            u_hat_bar = with_source.u * (1 - z) + (with_source.z + output_bar) * self.surrogate.derivative(v)
            return _Carry(u_hat_bar, bar.w, sums)

        def through_membrane(carry: _Carry) -> tuple[AdLIFState, Array]:
            """Go from the membrane potential back to the current and to the state of the step before."""
            current_bar = (1 - alpha) * carry.u_hat_bar
            bar = AdLIFState(alpha * carry.u_hat_bar, beta * carry.w_bar - current_bar, recur(current_bar))
            return bar, current_bar

        def step_back(carry: _Carry, step: tuple[Array, Array]) -> tuple[_Carry, Array]:
            bar, current_bar = through_membrane(carry)
            return through_spike(bar, *step, carry.w_bar, carry.sums), current_bar

        # The loop goes from one membrane potential to the one before: XLA computes what is carried once, and anything
        # else again wherever it is used.
        zeros = jnp.zeros_like(first.u)
        carry = through_spike(last_bar, residuals[-1], output_bars[-1], zeros, _Sums(zeros, zeros, zeros, zeros))
        carry, current_bars = jax.lax.scan(step_back, carry, (residuals[:-1], output_bars[:-1]), reverse=True)
        first_bar, first_current_bar = through_membrane(carry)
        sums = carry.sums
        if not symplectic:
            first_bar, sums = add_source(first_bar, carry.w_bar, first.u, first.z, sums)
        current_bars = jnp.concatenate([first_current_bar[None], current_bars])
        before = after_reset(first.u, residuals, self.outputs(coefficients, first, residuals))
        coefficients_bar = AdLIFCoefficients(
            alpha=alpha_bar(alpha, before, residuals, current_bars),
            beta=jnp.sum(sums.beta + sums.p * first.w, 0),
            a=sums.a.sum(0),
            b=sums.b.sum(0),
        )
        return current_bars, coefficients_bar, first_bar


class _Carry(NamedTuple):
    """What the backward loop carries from step to step, `[batch, neuron]`."""

    u_hat_bar: Array
    w_bar: Array
    sums: "_Sums"


class _Sums(NamedTuple):
    """Sums of the backward loop, `[batch, neuron]`: the filter `p`, and the gradients for beta, `a` and `b`."""

    p: Array
    beta: Array
    a: Array
    b: Array


class EFAdLIF(_AdLIF):
    """Adaptive LIF neurons, discretised by Euler-forward.

    Example:
      >>> neuron = EFAdLIF(tau_u=(5.0, 25.0), q=120.0)
      >>> sorted(neuron.parameters())
      ['a', 'b', 'k_u', 'k_w']
    """

    def step(self, coefficients: AdLIFCoefficients, state: AdLIFState, current: PerSample) -> AdLIFState:
        """Return `u_t`, `w_t`, `z_t`: the adaptation follows the previous membrane potential and spike."""
        u, z = self._spike(self._membrane(coefficients, state, current))
        w = coefficients.beta * state.w + coefficients.a * state.u + coefficients.b * state.z
        return AdLIFState(u, w, z)

    def backward(self, *arguments: Any) -> tuple[Array, AdLIFCoefficients, AdLIFState]:
        return self._backward(False, *arguments)


class SEAdLIF(_AdLIF):
    """Adaptive LIF neurons, discretised by Symplectic Euler.

    Example:
      >>> neuron = SEAdLIF(tau_u=(5.0, 25.0), q=120.0)
      >>> sorted(neuron.parameters())
      ['a', 'b', 'k_u', 'k_w']
    """

    def step(self, coefficients: AdLIFCoefficients, state: AdLIFState, current: PerSample) -> AdLIFState:
        """Return `u_t`, `w_t`, `z_t`: the adaptation follows the new membrane potential and spike."""
        u, z = self._spike(self._membrane(coefficients, state, current))
        w = coefficients.beta * state.w + coefficients.a * u + coefficients.b * z
        return AdLIFState(u, w, z)

    def backward(self, *arguments: Any) -> tuple[Array, AdLIFCoefficients, AdLIFState]:
        return self._backward(True, *arguments)
