"""Samples on the device of JAX, and what it tells of the device and of the memory there."""

import jax

from benchmarks.shapes import Shape, random_samples
from seadlif_jax.data.samples import Samples, to_device


def samples(shape: Shape, count: int, where: jax.sharding.Sharding | None = None) -> Samples:
    return to_device(random_samples(shape, count), where)


def name() -> str:
    return jax.devices()[0].device_kind


def peak_mib() -> float | None:
    """The most memory held on an accelerator so far."""
    statistics = jax.devices()[0].memory_stats()
    return statistics["peak_bytes_in_use"] / 2**20 if statistics else None
