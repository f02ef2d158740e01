"""Adaptive leaky integrate-and-fire (adLIF) neurons, discretised by Euler-forward (EF) and by Symplectic Euler (SE).

    u^_t = alpha u_{t-1} + (1 - alpha) (I_t - w_{t-1})              alpha = exp(-1 / tau_u)
    z_t  = H(u^_t - threshold)                                      beta  = exp(-1 / tau_w)
    u_t  = u^_t (1 - sg(z_t))                                       sg stops the gradient
    EF:  w_t = beta w_{t-1} + (1 - beta) q (a u_{t-1} + b z_{t-1})
    SE:  w_t = beta w_{t-1} + (1 - beta) q (a u_t + b z_t)

The adaptation current `w` follows the *previous* membrane potential and spike in EF (the explicit Euler method), and
the *new* ones in SE. That is the only difference. With a resting potential, the states' potentials are relative to it
(see lif.py); `u` of these equations is not.

Source: Baronig, Ferrand, Sabathiel & Legenstein (arXiv 2408.07517), "Adaptive LIF" and "Symplectic Euler".

**Gradient by hand.** Let `x_bar` be the gradient of the loss for `x`, and let `a` and `b` include `(1 - beta) q`. The
backward pass goes from `u^_bar_t` and `w_bar_t` to those of the step before:

    I_bar_t      = (1 - alpha) u^_bar_t
    w_bar_{t-1}  = beta w_bar_t - I_bar_t
    s_bar        = w_bar_{t-1} for SE, w_bar_t for EF           of the adaptation current that u_{t-1} and z_{t-1} drive
    u_bar_{t-1}  = alpha u^_bar_t + a s_bar
    z_bar_{t-1}  = I_bar_t W_rec^T + b s_bar + (gradient from outside of the layer)
    u^_bar_{t-1} = u_bar_{t-1} (1 - z_{t-1}) + z_bar_{t-1} H'(u^_{t-1} - threshold)

`u^` is all that this needs from the forward pass. The gradient for beta, `sum_t w_bar_t w_{t-1}`, seems to need the
adaptation current too. But `w` is a filter of `a u + b z`. With the filter reversed in time, the sum becomes
`sum_t p_t (a u_{t-1} + b z_{t-1})`, where `p_{t-1} = s_bar + beta p_t`, and `p = 0` after the last step. The backward
loop adds it up, like the sums for alpha, `a` and `b`. These gradients are for `coefficients`: JAX continues from there
to the trained parameters, and to `beta` within `(1 - beta) q`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array

from seadlif_jax.neurons.lif import (
    UntrainedThreshold,
    above_threshold,
    alpha_bar,
    from_rest,
    gap_and_rest,
    membrane,
    reset,
    spikes,
    threshold_parameters,
    through_spikes,
    trains_threshold,
)
from seadlif_jax.neurons.neuron import (
    Parameter,
    PerNeuron,
    PerSample,
    Range,
    before_each,
    decay,
    interpolate,
    refuse_nonpositive,
)
from seadlif_jax.neurons.surrogate import Number, Surrogate


class AdLIFCoefficients(NamedTuple):
    """Decays `alpha`, `beta` of membrane potential and adaptation current; couplings `a`, `b`, times `(1 - beta) q`.

    `gap` is the trained threshold minus the resting potential `rest`, or None.
    """

    alpha: PerNeuron
    beta: PerNeuron
    a: PerNeuron
    b: PerNeuron
    gap: PerNeuron | None = None
    rest: PerNeuron | None = None


class AdLIFState(NamedTuple):
    """Membrane potential `u_hat` before the reset, adaptation current `w`, and spikes `z`, after step t.

    `u` is the membrane potential after the reset. Both are relative to the resting potential.
    """

    u_hat: PerSample
    w: PerSample
    z: PerSample

    @property
    def u(self) -> PerSample:
        return reset(self.u_hat, self.z)

    @property
    def output(self) -> PerSample:
        return self.z


class _AdLIF(UntrainedThreshold):
    """All that EF and SE share.

    Attributes:
      tau_u: range in steps of the membrane time constants; each neuron's is trained, as its position `k_u` in [0, 1].
      tau_w: range in steps of the adaptation time constants, trained likewise as `k_w`.
      a: range of the coupling of the adaptation to the membrane potential, trained.
      b: range of the coupling of the adaptation to the spikes, trained.
      q: scale of both couplings.
      threshold: the membrane potential above which a neuron spikes.
      surrogate: the spike function and its surrogate gradient.
      train_threshold: whether each neuron's threshold is trained, from the value of `threshold`.
      train_rest: whether each neuron's resting potential is trained, as a fraction `k_rest` of its threshold, initially
        in [0, 1]; otherwise it is 0.
    """

    tau_u: Range = (5.0, 25.0)
    tau_w: Range = (60.0, 300.0)
    a: Range = (0.0, 1.0)
    b: Range = (0.0, 2.0)
    q: Number = 120.0
    threshold: Number = 1.0
    surrogate: Surrogate = Surrogate()
    train_threshold: bool = struct.field(pytree_node=False, default=False)
    train_rest: bool = struct.field(pytree_node=False, default=False)

    State = AdLIFState

    def parameters(self) -> Mapping[str, Range | Parameter]:
        refuse_nonpositive(self, "tau_u", "tau_w")
        return {"k_u": (0.0, 1.0), "k_w": (0.0, 1.0), "a": self.a, "b": self.b, **threshold_parameters(self)}

    def coefficients(self, params: Mapping[str, PerNeuron]) -> AdLIFCoefficients:
        alpha = decay(interpolate(params["k_u"], self.tau_u))
        beta = decay(interpolate(params["k_w"], self.tau_w))
        scale = (1 - beta) * self.q
        return AdLIFCoefficients(alpha, beta, scale * params["a"], scale * params["b"], *gap_and_rest(self, params))

    def _adaptation(self, coefficients: AdLIFCoefficients, w: PerSample, u: PerSample, z: PerSample) -> PerSample:
        """Return `beta w + a u + b z`, where `a` and `b` of the coefficients include `(1 - beta) q`."""
        return coefficients.beta * w + coefficients.a * _plus_rest(coefficients, u) + coefficients.b * z

    # The carry of the loop is `u^_t`, from which `u_t` and `z_t` follow, and the last adaptation current that does not
    # depend on them: w_t for EF; w_{t-1} for SE, which computes w_t at the start of the next step. So one backward loop
    # serves both, with `u^_t` as the residual.

    def _spikes_of(self, coefficients: AdLIFCoefficients, carry: "AdLIFCarry") -> PerSample:
        return spikes(self, coefficients, carry.u_hat) if carry.z is None else carry.z

    def _backward(
        self,
        symplectic: bool,
        coefficients: AdLIFCoefficients,
        first: "AdLIFCarry",
        residuals: Array,
        replayed: Any,
        last_bar: "AdLIFCarry",
        output_bars: Array,
        recur: Callable[[Array], Array],
    ) -> tuple[Array, AdLIFCoefficients, "AdLIFCarry"]:
        """Return the gradients of a chunk of steps (see `Neuron.backward`), by hand: from `u^_t` alone."""
        if trains_threshold(self):
            return super().backward(coefficients, first, residuals, replayed, last_bar, output_bars, recur)
        alpha, beta, a, b, *_ = coefficients

        def step_back(carry, step):
            """Go back from `u^_t` to `u^_{t-1}`."""
            u_hat_bar, w_bar, sums = carry  # of the carry after step t: for SE, `w_bar` is beta w_bar_t
            u_hat, output_bar = step  # of t - 1
            v = above_threshold(self, coefficients, u_hat)
            z = self.surrogate(v)
            u = u_hat * (1 - z)
            current_bar = (1 - alpha) * u_hat_bar
            # For the adaptation current that u_{t-1} and z_{t-1} drive: w_{t-1} for SE, w_t for EF.
            source_bar = w_bar - current_bar if symplectic else w_bar
            u_bar = alpha * u_hat_bar + a * source_bar
            z_bar = output_bar + recur(current_bar) + b * source_bar
            u_hat_bar = u_bar * (1 - z) + z_bar * self.surrogate.derivative(v)
            w_bar = beta * source_bar if symplectic else beta * w_bar - current_bar
            sums = _Sums(
                alpha=sums.alpha + current_bar * u - (1 - alpha) * u_hat_bar * u_hat,
                p=source_bar + beta * sums.p,
                beta=sums.beta + sums.p * (a * u + b * z),
                a=sums.a + source_bar * u,
                b=sums.b + source_bar * z,
            )
            return (u_hat_bar, w_bar, sums), current_bar

        last, zeros = residuals[-1], jnp.zeros_like(first.u_hat)
        u_hat_bar = last_bar.u_hat + through_spikes(self, coefficients, last, output_bars[-1])
        sums = _Sums(alpha=-(1 - alpha) * u_hat_bar * last, p=zeros, beta=zeros, a=zeros, b=zeros)
        steps = (before_each(first.u_hat, residuals), before_each(zeros, output_bars))
        carry = (u_hat_bar, last_bar.w, sums)
        (u_hat_bar, w_bar, sums), current_bars = jax.lax.scan(step_back, carry, steps, reverse=True)
        alpha_sum = sums.alpha + (1 - alpha) * u_hat_bar * first.u_hat
        coefficients_bar = AdLIFCoefficients(
            alpha=alpha_bar(alpha, alpha_sum.sum(0)),
            beta=jnp.sum(sums.beta + sums.p * first.w, 0),  # the chunk starts with an adaptation current
            a=sums.a.sum(0),
            b=sums.b.sum(0),
        )
        return current_bars, coefficients_bar, AdLIFCarry(u_hat_bar, w_bar)


class AdLIFCarry(NamedTuple):
    """Carry of the loop: `u^_t`, and `w_t` for EF, `w_{t-1}` for SE; and `z_t`, if the threshold is trained."""

    u_hat: PerSample
    w: PerSample
    z: PerSample | None = None


class _Sums(NamedTuple):
    """Sums of the backward loop, `[batch, neuron]`: the filter `p`, and the gradients for the coefficients."""

    alpha: Array
    p: Array
    beta: Array
    a: Array
    b: Array


def _plus_rest(coefficients: AdLIFCoefficients, u: PerSample) -> PerSample:
    """Return the membrane potential of one that is relative to the resting potential."""
    return u if coefficients.rest is None else u + coefficients.rest


class EFAdLIF(_AdLIF):
    """Adaptive LIF neurons, discretised by Euler-forward, the explicit Euler method.

    Example:
      >>> neuron = EFAdLIF(tau_u=(5.0, 25.0), q=120.0)
      >>> sorted(neuron.parameters())
      ['a', 'b', 'k_u', 'k_w']
    """

    kernel = "ef_adlif"

    def step(self, coefficients: AdLIFCoefficients, state: AdLIFState, current: PerSample) -> AdLIFState:
        """Return the state after step t; the adaptation current follows the potential and spike *before* it."""
        u_hat = membrane(coefficients.alpha, state.u, from_rest(coefficients, current) - state.w)
        z = spikes(self, coefficients, u_hat)
        w = self._adaptation(coefficients, state.w, state.u, state.z)
        return AdLIFState(u_hat, w, z)

    def unpack(self, coefficients: AdLIFCoefficients, carry: AdLIFCarry) -> AdLIFState:
        return AdLIFState(carry.u_hat, carry.w, self._spikes_of(coefficients, carry))

    def pack(self, before: AdLIFState, after: AdLIFState) -> AdLIFCarry:
        return AdLIFCarry(after.u_hat, after.w, after.z if trains_threshold(self) else None)

    # In the class of `step`: a subclass with another step must not inherit it.
    def backward(self, *arguments: Any) -> tuple[Array, AdLIFCoefficients, AdLIFCarry]:
        return self._backward(False, *arguments)


class SEAdLIF(_AdLIF):
    """Adaptive LIF neurons, discretised by Symplectic Euler.

    Example:
      >>> neuron = SEAdLIF(tau_u=(5.0, 25.0), q=120.0)
      >>> sorted(neuron.parameters())
      ['a', 'b', 'k_u', 'k_w']
    """

    kernel = "se_adlif"

    def step(self, coefficients: AdLIFCoefficients, state: AdLIFState, current: PerSample) -> AdLIFState:
        """Return the state after step t; the adaptation current follows its *new* potential and spike."""
        u_hat = membrane(coefficients.alpha, state.u, from_rest(coefficients, current) - state.w)
        z = spikes(self, coefficients, u_hat)
        w = self._adaptation(coefficients, state.w, reset(u_hat, z), z)
        return AdLIFState(u_hat, w, z)

    def initial_carry(self, coefficients: AdLIFCoefficients, shape: tuple[int, ...]) -> AdLIFCarry:
        carry = super().initial_carry(coefficients, shape)
        if coefficients.rest is None:
            return carry
        return carry._replace(w=carry.w - coefficients.a * coefficients.rest / coefficients.beta)  # so that w_0 = 0

    def unpack(self, coefficients: AdLIFCoefficients, carry: AdLIFCarry) -> AdLIFState:
        z = self._spikes_of(coefficients, carry)
        w = self._adaptation(coefficients, carry.w, reset(carry.u_hat, z), z)
        return AdLIFState(carry.u_hat, w, z)

    def pack(self, before: AdLIFState, after: AdLIFState) -> AdLIFCarry:
        return AdLIFCarry(after.u_hat, before.w, after.z if trains_threshold(self) else None)

    # In the class of `step`: a subclass with another step must not inherit it.
    def backward(self, *arguments: Any) -> tuple[Array, AdLIFCoefficients, AdLIFCarry]:
        return self._backward(True, *arguments)
