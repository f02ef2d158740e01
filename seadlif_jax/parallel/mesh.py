"""Several devices at work: the members of a sweep are divided among them, and each batch, by samples.

The devices form a mesh with two axes. Along `MEMBER`, each has members of its own and nothing to exchange. Along
`BATCH`, each takes its share of the samples of every batch, and their sums are added up once a training step.

To JAX, a CPU is one device, and its cores share single operations. Those of a time step are too small for that: in
recurrent networks the second core hardly helps. `one_per_core` makes every core a device, which runs through all time
steps on its own; the devices wait for each other once a training step, not once an operation.
"""

import functools
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, Int, PyTree

MEMBER, BATCH = "member", "batch"
LEAST_SHARE = 16  # samples; with fewer a device has too little to do


def one_per_core() -> None:
    """Makes every core of the CPU a device of JAX, unless the user has said how many there are to be.

    To be called before JAX has looked for devices. Users say it by JAX's own environment variables,
    `JAX_NUM_CPU_DEVICES` or `XLA_FLAGS=--xla_force_host_platform_device_count=...`.
    """
    said = jax.config.values["jax_num_cpu_devices"] > 0
    if not said and "xla_force_host_platform_device_count" not in os.getenv("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", _cores())


def _cores() -> int:
    """Those this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mesh_for(batch_size: int, members: int = 1) -> Mesh:
    """As many devices as can have equal parts that are worth it; of those, first to members, then to samples."""
    return make_mesh(*_shape(jax.device_count(), batch_size, members))


def _shape(num_devices: int, batch_size: int, members: int) -> tuple[int, int]:
    def by_batch(by_member: int) -> int:
        """The devices along the batch, with so many along the members."""
        most = max(1, min(num_devices // by_member, batch_size // LEAST_SHARE))
        return max(count for count in range(1, most + 1) if batch_size % count == 0)

    divisors = [count for count in range(1, min(num_devices, members) + 1) if members % count == 0]
    return max(((count, by_batch(count)) for count in divisors), key=lambda shape: (math.prod(shape), shape))


def make_mesh(by_member: int, by_batch: int) -> Mesh:
    """A mesh of the first devices there are, of all processes."""
    devices = jax.devices()[: by_member * by_batch]
    return jax.make_mesh((by_member, by_batch), (MEMBER, BATCH), (AxisType.Auto, AxisType.Auto), devices=devices)


def everywhere(mesh: Mesh) -> NamedSharding:
    """The placement of what every device of the mesh holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def by_member(mesh: Mesh) -> NamedSharding:
    """The placement of what has members as its first axis."""
    return NamedSharding(mesh, PartitionSpec(MEMBER))


def program(function: Callable, mesh: Mesh, mapped: int = 0, width: int | None = 1) -> jax.stages.Wrapped:
    """`function(*own, *shared)` for all members, as a function of the tuples `own` and `shared`, to be compiled.

    Where the devices of a batch differ, and what they exchange, is the function's own affair: it uses a `Share`.

    Args:
      function: what is done for one member.
      mesh: the devices.
      mapped: the number of its arguments, the first ones, that are a member's own. They, and the results, have an axis
        of members in front. The others are shared by all members, and the same on all devices, unless they have a
        `placement` of their own. With 0, the function is called once, and there are no members.
      width: how many members each device computes at a time, by `jax.vmap`; None for all.
    """
    own, one = PartitionSpec(MEMBER) if mapped else PartitionSpec(), PartitionSpec()

    def of_all(own_arguments, shared_arguments):
        def of_one(own_arguments):
            return function(*own_arguments, *shared_arguments)

        return _map(of_one, own_arguments, width) if mapped else of_one(own_arguments)

    def on_each(own_arguments, shared_arguments):
        shared = tuple(getattr(argument, "placement", one) for argument in shared_arguments)
        # What is equal along the batch is so by the functions' construction; checking it would need marks all over.
        each = jax.shard_map(of_all, mesh=mesh, in_specs=(own, shared), out_specs=own, check_vma=False)
        return each(own_arguments, shared_arguments)

    on_each.__name__ = function.__name__  # the compiler's name for it
    own_sharding = NamedSharding(mesh, own)
    return jax.jit(on_each, in_shardings=(own_sharding, None), out_shardings=own_sharding)


def _map(function: Callable, members: PyTree[Array], width: int | None) -> Any:
    if width == 1:  # without an axis for a single member, which products would not be as fast with
        return jax.lax.map(function, members)
    count = len(jax.tree.leaves(members)[0])
    if width is None or width >= count:
        return jax.vmap(function)(members)
    return jax.lax.map(function, members, batch_size=width)


def spread(function: Callable, mesh: Mesh, mapped: int = 0, width: int | None = 1) -> Callable:
    """Compiles a `program`, to be called like the function; a call returns when it is done.

    The devices of a CPU share a pool of threads, one a core. In an exchange a device holds one of them until all
    devices take part; with several programs under way, one device could hold all, and wait for another that is left
    without.
    """
    compiled = program(function, mesh, mapped, width)

    @functools.wraps(function)
    def run(*arguments):
        return jax.block_until_ready(compiled(arguments[:mapped], arguments[mapped:]))

    return run


def temporary_bytes(compiled: jax.stages.Compiled) -> int:
    """What a compiled program needs on each device, beyond its arguments and results."""
    analysis = compiled.memory_analysis()
    return analysis.temp_size_in_bytes if analysis else 0


def free_bytes() -> int | None:
    """The memory that is left on each device, of all processes, where they tell."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    if not all(stats):
        return None
    free = min(one["bytes_limit"] - one["bytes_in_use"] for one in stats)
    return int(of_all_processes(np.asarray(free, float)).min())


def widest(members: int, needed: Callable[[int], int], free: int | None) -> int:
    """How many of these members a device can compute at a time.

    Args:
      members: how many there are for each device.
      needed: the bytes that so many at a time need, as the compiler says.
      free: the bytes there are, or None if nobody knows: then all are tried.
    """
    width = members
    while free is not None and width > 1 and (bytes_needed := needed(width)) > free:
        width = max(1, min(width - 1, int(width * free / bytes_needed)))
    return width


def put(values: PyTree[Any], where: Sharding) -> PyTree[Array]:
    """Arrays that every process has in full, placed on the devices of all processes."""

    def put_one(value: Any) -> Array:
        array = np.asarray(value)
        return jax.make_array_from_callback(array.shape, where, lambda index: array[index])

    return jax.tree.map(put_one, values)


def to_host(values: PyTree[Array]) -> PyTree[np.ndarray]:
    """Arrays of all devices, and of all processes, as NumPy's; of random keys, their data."""

    def one_to_host(value: Array) -> np.ndarray:
        return np.asarray(multihost_utils.process_allgather(without_key(value), tiled=True))

    return jax.tree.map(one_to_host, values)


def is_key(array: Any) -> bool:
    """Whether an array is one of random keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def without_key(array: Any) -> Any:
    """The data of random keys; other arrays as they are."""
    return jax.random.key_data(array) if is_key(array) else array


def is_first_process() -> bool:
    """Whether this process is the one that writes files and talks to the user."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Returns when all processes are there."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def of_first_process(values: Any) -> np.ndarray:
    """What the first process has found, for all: where they branch, they must agree."""
    return np.asarray(multihost_utils.broadcast_one_to_all(np.asarray(values)))


def of_all_processes(values: np.ndarray) -> np.ndarray:
    """What each process has found, along a new first axis."""
    return np.asarray(multihost_utils.process_allgather(values, tiled=False)).reshape(-1, *values.shape)


@jax.jit
def _pick(members: Array, number: Int[Array, ""]) -> Array:
    return members[number][None]


def pick(members: PyTree[Array], number: int) -> PyTree[Array]:
    """One member out of arrays with an axis of members, which has length one then."""
    # One array at a time: see `spread`.
    return jax.tree.map(lambda array: jax.block_until_ready(_pick(array, number)), members)


class Share(NamedTuple):
    """The part of a batch that is a device's own, in a `program` with `devices` of them along the batch."""

    devices: int = 1

    @classmethod
    def of(cls, mesh: Mesh) -> "Share":
        return cls(mesh.shape[BATCH])

    def number(self) -> Int[Array, ""] | int:
        """That of this device."""
        return jax.lax.axis_index(BATCH) if self.devices > 1 else 0

    def positions(self, batch_size: int) -> Int[Array, " share"]:
        """Where in a batch the samples of this device are; a batch that cannot be shared equally is filled up."""
        share = -(-batch_size // self.devices)
        return share * self.number() + jnp.arange(share)

    def total(self, parts: PyTree[Array]) -> PyTree[Array]:
        """The sum over the devices; of whole numbers too large for a float, rounded.

        It is a single exchange, whatever the number of arrays: see `spread`.
        """
        if self.devices == 1:
            return parts
        flat, restore = ravel_pytree(jax.tree.map(lambda part: part.astype(float), parts))
        total = restore(jax.lax.psum(flat, BATCH))
        return jax.tree.map(lambda whole, part: whole.astype(part.dtype), total, parts)
