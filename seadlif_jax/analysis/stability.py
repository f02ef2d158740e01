"""Dynamics of adLIF neurons below threshold in closed form: decay, frequency of oscillation, and stability.

Without spikes, membrane potential and adaptation current are a linear system of two variables,

    tau_u du/dt = -u - w + I        tau_w dw/dt = -w + a u

where `a` is the product of the coupling and its scale, `q a`. A step of the discretisations maps `(u, w)` by a matrix

    Euler-forward       u' = alpha u - (1 - alpha) w        w' = beta w + (1 - beta) a u
    Symplectic Euler    u' = alpha u - (1 - alpha) w        w' = beta w + (1 - beta) a u'

The largest modulus of its eigenvalues is the decay per step, their angle the frequency. For the continuous system, the
eigenvalues are the exponentials of those of its own matrix. The modulus of complex ones is `sqrt(det)`: `sqrt(alpha
beta)` for the continuous system and for SE, whatever `a` is, but larger for EF, where it grows with `a`. So EF becomes
unstable where SE keeps the decay of the continuous system.

Source: Baronig, Ferrand, Sabathiel & Legenstein (arXiv 2408.07517), on the stability of the discretisations, Fig. 3.
Time constants are in steps. All functions work on numbers or arrays of them, elementwise, on the host.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seadlif_jax.utils.errors import InputError

Numbers = np.ndarray | np.floating


class Spectrum(NamedTuple):
    """Response of a neuron to a pulse.

    Attributes:
      decay: factor of the amplitude per step; above 1, the neuron is unstable.
      frequency: cycles per step; 0 if it does not oscillate.
    """

    decay: Numbers
    frequency: Numbers


def continuous(tau_u: ArrayLike, tau_w: ArrayLike, a: ArrayLike) -> Spectrum:
    """Return the spectrum of the differential equations, per time of one step.

    Example:
      >>> decay, frequency = continuous(tau_u=25, tau_w=60, a=120)
      >>> round(float(decay), 3), round(1 / float(frequency), 1)  # a period, in steps
      (0.972, 22.2)
    """
    rate_u, rate_w, a = 1 / np.asarray(tau_u, float), 1 / np.asarray(tau_w, float), np.asarray(a, float)
    middle, square = -(rate_u + rate_w) / 2, ((rate_u - rate_w) / 2) ** 2 - a * rate_u * rate_w
    slowest = middle + np.sqrt(np.maximum(square, 0))
    return Spectrum(np.exp(slowest), np.sqrt(np.maximum(-square, 0)) / (2 * np.pi))


def euler_forward(tau_u: ArrayLike, tau_w: ArrayLike, a: ArrayLike) -> Spectrum:
    """Return the spectrum of EF-adLIF; for complex eigenvalues, decay is `sqrt(alpha beta + (1-alpha) (1-beta) a)`."""
    alpha, beta, gain = _coefficients(tau_u, tau_w, a)
    return _spectrum_of_matrix(trace=alpha + beta, det=alpha * beta + gain)


def symplectic_euler(tau_u: ArrayLike, tau_w: ArrayLike, a: ArrayLike) -> Spectrum:
    """Return the spectrum of SE-adLIF; for complex eigenvalues, decay is `sqrt(alpha beta)`, as in continuous time."""
    alpha, beta, gain = _coefficients(tau_u, tau_w, a)
    return _spectrum_of_matrix(trace=alpha + beta - gain, det=alpha * beta)


def max_stable_a(neuron: str, tau_u: ArrayLike, tau_w: ArrayLike) -> Numbers:
    """Return the bound below which a neuron is stable for every `a` from 0 on.

    EF: `(1 - alpha beta) / ((1 - alpha)(1 - beta))`; SE: `(1 + alpha)(1 + beta) / ((1 - alpha)(1 - beta))`.

    Args:
      neuron: "ef_adlif" or "se_adlif".
      tau_u: membrane time constant.
      tau_w: adaptation time constant.

    Raises:
      InputError: the neuron is another one.

    Example:
      >>> [round(float(max_stable_a(neuron, 5, 60))) for neuron in ("ef_adlif", "se_adlif")]
      [65, 1204]
    """
    alpha, beta, gain = _coefficients(tau_u, tau_w, 1.0)
    bound_times_gain = {"ef_adlif": 1 - alpha * beta, "se_adlif": (1 + alpha) * (1 + beta)}
    if neuron not in bound_times_gain:
        raise InputError(f"there is no bound for {neuron!r}; choose one of {', '.join(bound_times_gain)}")
    return bound_times_gain[neuron] / gain


SPECTRA: Mapping[str, Callable[[Any, Any, Any], Spectrum]] = MappingProxyType(
    {"continuous": continuous, "ef_adlif": euler_forward, "se_adlif": symplectic_euler}
)


def _coefficients(tau_u: ArrayLike, tau_w: ArrayLike, a: ArrayLike) -> tuple[Numbers, Numbers, Numbers]:
    """Return `alpha`, `beta` and `(1 - alpha)(1 - beta) a`."""
    tau_u, tau_w = np.asarray(tau_u, float), np.asarray(tau_w, float)
    gain = np.expm1(-1 / tau_u) * np.expm1(-1 / tau_w) * np.asarray(a, float)
    return np.exp(-1 / tau_u), np.exp(-1 / tau_w), gain


def _spectrum_of_matrix(trace: Numbers, det: Numbers) -> Spectrum:
    """Return the spectrum of a 2x2 matrix, whose eigenvalues are `trace / 2 +- sqrt(trace^2 / 4 - det)`."""
    square = trace**2 / 4 - det
    root = np.sqrt(np.abs(square))
    decay = np.where(square < 0, np.sqrt(np.abs(det)), np.abs(trace) / 2 + root)
    # Real ones that are negative change their sign in every step: half a cycle.
    angle = np.where(square < 0, np.arctan2(root, trace / 2), np.where(trace < 0, np.pi, 0.0))
    return Spectrum(decay, angle / (2 * np.pi))
