"""Samples on the device of JAX, and what is said of this device and its compiler."""

from collections.abc import Callable

import jax

from benchmarks.shapes import Shape, random_samples
from benchmarks.workers import Subject
from seadlif_jax.data.on_device.samples import Samples, to_device
from seadlif_jax.parallel import temporary_bytes


def samples(shape: Shape, count: int, where: jax.sharding.Sharding | None = None) -> Samples:
    return to_device(random_samples(shape, count), where)


def subject(
    train_step: Callable[[int], object],
    inference: Callable[[int], object],
    epoch: Callable[[int], object] | None,
    compiled: jax.stages.Compiled,
) -> Subject:
    """Return the measured functions; `compiled` is the training step."""
    device = jax.devices()[0].device_kind
    return Subject(train_step, inference, epoch, device, _peak_mib, temporary_bytes(compiled) / 2**20)


def _peak_mib() -> float | None:
    """Return the peak memory of an accelerator; None on a CPU."""
    statistics = jax.devices()[0].memory_stats()
    return statistics["peak_bytes_in_use"] / 2**20 if statistics else None
