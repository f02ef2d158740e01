"""Samples on the devices."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Num

from seadlif_jax.data.loading import Split


class Samples(NamedTuple):
    """Samples on the device: a whole split, kept compact, or one batch of it."""

    inputs: Num[Array, "sample time channel"]
    targets: Num[Array, "sample targets ..."]
    block_index: Int[Array, "sample time"]

    @classmethod
    def of(cls, split: Split, start: int = 0, stop: int | None = None) -> "Samples":
        """Return the samples `start` to `stop - 1` of a split, or all, as one batch."""
        samples = cls(*(jnp.asarray(array[start:stop]) for array in (split.inputs, split.targets, split.block_index)))
        return samples.take(jnp.arange(samples.size))

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.inputs)

    def labels(self) -> Int[Array, " sample"]:
        """Return the target of the first block of each sample: its class, where there is one block."""
        return self.targets[:, 1].astype(jnp.int32)

    def take(self, indices: Int[Array, " batch"]) -> "Samples":
        """Return the samples at these indices, with block index and class targets as int32."""
        inputs, targets, block_index = (array[indices] for array in self)
        if jnp.issubdtype(targets.dtype, jnp.integer):
            targets = targets.astype(jnp.int32)
        return Samples(inputs, targets, block_index.astype(jnp.int32))


def to_device(split: Split, sharding: jax.sharding.Sharding | None = None, multiple: int = 1) -> Samples:
    """Return a split on the device, or on those of a sharding. The cores of a CPU share one copy.

    Args:
      split: the samples on the host.
      sharding: devices, and the part of the samples that each of them holds; None for the default device.
      multiple: samples of zeros are added up to a multiple of this number.
    """
    on_cpu = jax.default_backend() == "cpu"

    def put(array: np.ndarray) -> Array:
        array = array.astype(np.uint8) if array.dtype == bool else array
        missing = -len(array) % multiple
        if missing:
            array = np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)])
        array = _aligned(array) if on_cpu else array
        if sharding is None:
            return jax.device_put(array, may_alias=on_cpu)
        parts = [
            jax.device_put(array[part], device, may_alias=on_cpu)
            for device, part in sharding.addressable_devices_indices_map(array.shape).items()
        ]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, parts)

    return Samples(*map(put, (split.inputs, split.targets, split.block_index)))


def _aligned(array: np.ndarray) -> np.ndarray:
    """Return a copy at an address from which a CPU device can use it without copying it again."""
    buffer = np.empty(array.nbytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
