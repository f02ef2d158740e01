"""Samples on the device of JAX, and the name and peak memory of this device."""

import jax

from benchmarks.shapes import Shape, random_samples
from seadlif_jax.data.on_device.samples import Samples, to_device


def samples(shape: Shape, count: int, where: jax.sharding.Sharding | None = None) -> Samples:
    return to_device(random_samples(shape, count), where)


def name() -> str:
    return jax.devices()[0].device_kind


def peak_mib() -> float | None:
    """Return the peak memory of an accelerator; None on a CPU."""
    statistics = jax.devices()[0].memory_stats()
    return statistics["peak_bytes_in_use"] / 2**20 if statistics else None
