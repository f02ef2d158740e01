"""One function for one member on one device, compiled for all members of a sweep on all devices of a mesh."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from seadlif_jax.parallel.mesh import BATCH, MEMBER
from seadlif_jax.parallel.processes import allgather


class Parallelized:
    """Compiled function of `parallelize`: called like the original, with an axis of members in front.

    On a CPU, a call returns when it is done. Its devices share a pool of threads, one a core; in an exchange a device
    holds one of them until all devices take part. With several programs under way, one device could hold all, and wait
    for another that is left without. Elsewhere, calls are asynchronous, as always in JAX.
    """

    def __init__(self, jitted: jax.stages.Wrapped, is_blocking: bool):
        self._jitted, self._is_blocking = jitted, is_blocking

    def __call__(self, *arguments: Any) -> Any:
        results = self._jitted(*arguments)
        return jax.block_until_ready(results) if self._is_blocking else results

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """Return the lowered program for arguments, or shapes, like these."""
        return self._jitted.lower(*arguments)


def parallelize(
    function: Callable, mesh: Mesh, per_member: int = 0, width: int | None = 1, donate: Sequence[int] = ()
) -> Parallelized:
    """Compile `function`, written for one member on one device, for all members on all devices.

    `jax.jit` of `jax.shard_map` of `jax.lax.map` or `jax.vmap`. What differs between devices along the batch, and what
    they exchange, is up to the function, by a `BatchShard`.

    Args:
      function: computes one member.
      mesh: the devices.
      per_member: number of arguments, the first ones, that each member has its own of. They, and the results, have an
        axis of members in front. The others are shared by all members, and the same on all devices unless they have a
        `partition_spec`. With 0 there are no members, and no such axis.
      width: number of members that a device computes at a time, by `jax.vmap`; None for all.
      donate: numbers of arguments whose buffers are given to the results; the caller must not use them again.
    """
    member_spec = PartitionSpec(MEMBER) if per_member else PartitionSpec()

    def on_mesh(*arguments):
        members, shared = arguments[:per_member], arguments[per_member:]
        shared_specs = tuple(getattr(argument, "partition_spec", PartitionSpec()) for argument in shared)

        def on_device(members, shared):
            def on_member(member):
                return function(*member, *shared)

            if not per_member:
                return on_member(members)
            count = len(jax.tree.leaves(members)[0])
            if width == 1:  # without an axis for a single member, with which products would be slower
                return jax.lax.map(on_member, members)
            if width is None or width >= count:
                return jax.vmap(on_member)(members)
            return jax.lax.map(on_member, members, batch_size=width)

        # Values that are equal along the batch are so by construction; to check that would need marks all over.
        return jax.shard_map(
            on_device, mesh=mesh, in_specs=(member_spec, shared_specs), out_specs=member_spec, check_vma=False
        )(members, shared)

    on_mesh.__name__ = function.__name__  # the name in profiles and dumps of the compiler
    jitted = jax.jit(on_mesh, out_shardings=NamedSharding(mesh, member_spec), donate_argnums=tuple(donate))
    return Parallelized(jitted, is_blocking=mesh.devices.flat[0].platform == "cpu")


@dataclasses.dataclass(frozen=True)
class BatchShard:
    """The part of every batch that this device computes, in a function under `parallelize`.

    Attributes:
      num_devices: number of devices along the batch.
    """

    num_devices: int = 1

    @classmethod
    def on(cls, mesh: Mesh) -> "BatchShard":
        """Return the shard of each device of a mesh."""
        return cls(mesh.shape[BATCH])

    @property
    def axis_name(self) -> str | None:
        """Name of the batch axis for collectives; None on one device, which has no such axis."""
        return BATCH if self.num_devices > 1 else None

    def index(self) -> Int[Array, ""] | int:
        """Return the index of this device along the batch axis."""
        return jax.lax.axis_index(BATCH) if self.num_devices > 1 else 0

    def positions(self, batch_size: int) -> Int[Array, " shard"]:
        """Return the positions in a batch of this device's samples; they go beyond a batch that cannot be divided."""
        size = -(-batch_size // self.num_devices)
        return size * self.index() + jnp.arange(size)

    def sum(self, parts: PyTree[Array]) -> PyTree[Array]:
        """Return the sum over the devices; whole numbers beyond the precision of a float are rounded.

        It is a single exchange whatever the number of arrays, for no device ever to wait in two (see `Parallelized`).
        """
        if self.num_devices == 1:
            return parts
        flat, unravel = ravel_pytree(jax.tree.map(lambda part: part.astype(float), parts))
        totals = unravel(jax.lax.psum(flat, BATCH))
        return jax.tree.map(lambda total, part: total.astype(part.dtype), totals, parts)


@jax.jit
def _slice_member(array: Array, member: Int[Array, ""]) -> Array:
    return array[member][None]


def select_member(members: PyTree[Array], number: int) -> PyTree[Array]:
    """Return one member of arrays with an axis of members, whose length is then 1."""

    def select(array: Array) -> Array:
        # On a CPU one array at a time: see `Parallelized`.
        selected = _slice_member(array, number)
        return jax.block_until_ready(selected) if jax.default_backend() == "cpu" else selected

    return jax.tree.map(select, members)


def add_member_axis(tree: PyTree[Array], count: int) -> PyTree[Array]:
    """Return the arrays of a single run repeated along a new first axis of this many members."""
    return jax.tree.map(lambda array: jnp.broadcast_to(array, (count, *array.shape)), tree)


def temporary_bytes(compiled: jax.stages.Compiled) -> int:
    """Return the memory that a compiled program needs on each device beyond its arguments and results."""
    analysis = compiled.memory_analysis()
    return analysis.temp_size_in_bytes if analysis else 0


def free_device_bytes() -> int | None:
    """Return the memory left on every device of all processes; None where it is unknown, as on a CPU."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    if not all(stats):
        return None
    free = min(of_device["bytes_limit"] - of_device["bytes_in_use"] for of_device in stats)
    return int(allgather(np.asarray(free, float)).min())


def max_width(num_members: int, bytes_needed: Callable[[int], int], free: int | None) -> int:
    """Return how many of a device's members fit into its memory at a time.

    Args:
      num_members: number of members of the device.
      bytes_needed: from a number of members to the bytes that the compiler needs for as many at a time.
      free: bytes left on the device; None if unknown, for all members at a time.
    """
    width = num_members
    while free is not None and width > 1 and (needed := bytes_needed(width)) > free:
        width = max(1, min(width - 1, int(width * free / needed)))
    return width
