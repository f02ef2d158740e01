"""How good restored speech is, and what its compressed form costs.

Three measures of quality: SI-SNR, computed here; STOI (Taal et al., 2011: intelligibility, 0 to 1) and PESQ (ITU-T
P.862: as listeners rate it, 1 to 4.6), by the packages `pystoi` and `pesq`.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping
from math import gcd
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from seadlif_jax.utils.errors import SeadlifError

LIMIT_DB = 60  # of SI-SNR


class AudioError(SeadlifError):
    """Sound, or a network for sound, that cannot be worked with; the message says why."""


def si_snr(
    sound: Float[Array, "sample time"], target: Float[Array, "sample time"], counted: Bool[Array, "sample time"]
) -> Float[Array, " sample"]:
    """Return the scale-invariant signal-to-noise ratio in dB, over the steps that count.

    `10 log10(|s|^2 / |s - x|^2)`, where `s = t <x, t> / <t, t>` is the projection of the sound `x` onto the target `t`,
    both without their means (Luo & Mesgarani, 2018). Within +- 60 dB; a constant sound has -60 dB.

    Example:
      >>> target = jnp.array([[1.0, -1.0, 1.0, -1.0]])
      >>> noise = jnp.array([[0.1, 0.1, -0.1, -0.1]])
      >>> print(si_snr(0.5 * target + noise, target, jnp.ones((1, 4), bool)).round(1))
      [14.]
    """
    num_steps = jnp.maximum(jnp.sum(counted, axis=1, keepdims=True), 1)

    def centred(x: Array) -> Array:
        x = jnp.where(counted, x, 0)
        return jnp.where(counted, x - jnp.sum(x, axis=1, keepdims=True) / num_steps, 0)

    x, t = centred(sound), centred(target)
    smallest = jnp.finfo(x.dtype).tiny
    scale = jnp.sum(x * t, axis=1) / jnp.maximum(jnp.sum(t * t, axis=1), smallest)
    signal = scale[:, None] * t
    # Not the ratio of two sums with the same small number added: that of a silent sound would be 1, or 0 dB.
    ratio = jnp.sum(signal**2, axis=1) / jnp.maximum(jnp.sum((signal - x) ** 2, axis=1), smallest)
    return 10 * jnp.log10(jnp.clip(ratio, 10.0 ** (-LIMIT_DB / 10), 10.0 ** (LIMIT_DB / 10)))


def _import_package(name: str, measure: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AudioError(f"{measure} needs the package {name}: pip install {name}") from error


def stoi(sound: Float[np.ndarray, " time"], target: Float[np.ndarray, " time"], sample_rate: int) -> float:
    """Return the short-time objective intelligibility; NaN where the recording has too little speech for it.

    Raises:
      AudioError: the package pystoi is missing.
    """
    package = _import_package("pystoi", "STOI")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(package.stoi(target, sound, sample_rate))
        except (RuntimeWarning, ValueError):  # less than 0.4 s that are not silent
            return np.nan


def pesq(sound: Float[np.ndarray, " time"], target: Float[np.ndarray, " time"], sample_rate: int) -> float:
    """Return PESQ: narrow band for 8 kHz, else wide band at 16 kHz; NaN where it finds no speech.

    Raises:
      AudioError: the package pesq is missing.
    """
    package = _import_package("pesq", "PESQ")
    from scipy.signal import resample_poly

    if not (sound.any() and target.any()):
        return np.nan
    rate, band = (8000, "nb") if sample_rate == 8000 else (16000, "wb")
    if sample_rate != rate:
        divisor = gcd(rate, sample_rate)
        sound, target = (resample_poly(x, rate // divisor, sample_rate // divisor) for x in (sound, target))
    score = package.pesq(rate, target, sound, band, on_error=package.PesqError.RETURN_VALUES)
    return float(score) if score > 0 else np.nan


# By name: the function, and the package that it needs.
MEASURES: Mapping[str, tuple[Callable[..., float], str]] = MappingProxyType(
    {"stoi": (stoi, "pystoi"), "pesq": (pesq, "pesq")}
)


def bits_per_second(spikes: Bool[np.ndarray, "time neuron"], sample_rate: float) -> float:
    """Return what an ideal coder needs for the spikes: `sample_rate sum_i H(p_i)` bits.

    `p_i` is the firing rate of neuron `i`, spikes per step, and `H(p) = -p log2 p - (1 - p) log2 (1 - p)`: the bound
    for coders that know the rate of each neuron, and take its spikes for independent.

    Example:
      >>> bits_per_second(np.array([[True, False], [False, False]]), sample_rate=1000.0)
      1000.0
    """
    rates = spikes.mean(axis=0)
    rates = rates[(rates > 0) & (rates < 1)]
    return float(sample_rate * -np.sum(rates * np.log2(rates) + (1 - rates) * np.log2(1 - rates)))
