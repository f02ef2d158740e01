"""Mel spectrograms, and the distance between the spectrograms of two sounds at several time scales.

With windows of `n` samples (Hann, periodic), a quarter of a window apart, and reflection at both ends,

    S_n[t, k] = | sum_i window_i x_{t n/4 + i} exp(-2 pi i k / N) |      N: size of the transform, the largest window
    M_n       = S_n F_n                                                  F_n: triangular filters, `mel_filters`
    distance  = mean over n of  mean |M_n - M'_n| + mean |log M_n - log M'_n|

Source: the loss of the spiking autoencoder of Baronig et al. (Nature Communications, 2025); Engel et al. (2020),
"DDSP: Differentiable digital signal processing".
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seadlif_jax.utils.errors import InputError

MIN_MAGNITUDE = 1e-8


def mel_filters(num_mels: int, transform: int, sample_rate: float, min_hz: float) -> Float[np.ndarray, "frequency mel"]:
    """Return triangular filters, equally wide on the mel scale `2595 log10(1 + f / 700 Hz)`, with a peak of 1.

    Args:
      num_mels: number of filters.
      transform: size of the Fourier transform, samples.
      sample_rate: samples per second.
      min_hz: where the first filter begins; the last one ends at half of the sample rate.

    Raises:
      InputError: a filter lies between two frequencies of the transform.

    Example:
      >>> mel_filters(num_mels=4, transform=64, sample_rate=8000.0, min_hz=100.0).shape
      (33, 4)
    """
    frequencies = np.linspace(0, sample_rate / 2, transform // 2 + 1)
    ends = 2595 * np.log10(1 + np.array([min_hz, sample_rate / 2]) / 700)
    corners = 700 * (10 ** (np.linspace(ends[0], ends[1], num_mels + 2) / 2595) - 1)
    rising = (frequencies[:, None] - corners[:-2]) / np.diff(corners)[:-1]
    falling = (corners[2:] - frequencies[:, None]) / np.diff(corners)[1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    if not filters.any(axis=0).all():
        raise InputError(
            f"{num_mels} mel filters are too many for a transform of {transform} samples at {sample_rate:g} Hz: some "
            "have no frequency; take fewer filters, or a longer window"
        )
    return filters


def mel_spectrogram(
    sound: Float[Array, "sample time"], window: int, transform: int, filters: Float[np.ndarray, "frequency mel"]
) -> Float[Array, "sample frame mel"]:
    """Return `M_n` of sounds.

    Args:
      sound: the sounds, longer than half a window.
      window: length `n` of a window, samples.
      transform: size `N` of the Fourier transform, samples, at least `window`.
      filters: of `mel_filters`, for this transform.
    """
    padded = jnp.pad(sound, [(0, 0), (window // 2, window // 2)], mode="reflect")
    hop = max(1, window // 4)
    starts = np.arange(0, padded.shape[1] - window + 1, hop)
    frames = padded[:, starts[:, None] + np.arange(window)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    spectrum = jnp.fft.rfft(frames * hann.astype(sound.dtype), n=transform)
    # Without the gradient of a square root at 0, which is infinite.
    power = jnp.maximum(spectrum.real**2 + spectrum.imag**2, MIN_MAGNITUDE**2)
    return jnp.matmul(jnp.sqrt(power), filters.astype(sound.dtype), precision="highest")


def spectral_distance(
    sound: Float[Array, "sample time"],
    target: Float[Array, "sample time"],
    windows: Sequence[int],
    num_mels: int,
    sample_rate: float,
) -> Float[Array, " sample"]:
    """Return the distance between the spectrograms of two sounds, averaged over windows.

    Args:
      sound: the sounds.
      target: what they are compared with.
      windows: lengths of the windows in samples, such as (64, 128, 256, 512, 1024, 2048).
      num_mels: number of mel filters of each spectrogram.
      sample_rate: samples per second.

    Example:
      >>> tone = jnp.sin(jnp.arange(400.0))[None]
      >>> spectral_distance(tone, tone, windows=(32, 64), num_mels=8, sample_rate=8000.0).tolist()
      [0.0]
    """
    transform, total = max(windows), jnp.zeros(len(sound), sound.dtype)
    for window in windows:
        filters = mel_filters(num_mels, transform, sample_rate, min_hz=sample_rate / window)
        ours, theirs = (mel_spectrogram(x, window, transform, filters) for x in (sound, target))
        total += jnp.mean(jnp.abs(ours - theirs), axis=(1, 2))
        total += jnp.mean(jnp.abs(jnp.log(ours) - jnp.log(theirs)), axis=(1, 2))
    return total / len(windows)


def decibels(spectrogram: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return magnitudes in dB, relative to the largest one of the array: `20 log10(s / max s)`."""
    return 20 * jnp.log10(spectrogram / jax.lax.stop_gradient(jnp.max(spectrogram)))
