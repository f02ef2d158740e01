"""Several devices and several processes as one: the only folder that knows of them."""

from seadlif_jax.parallel.mesh import (
    BATCH,
    MEMBER,
    choose_mesh,
    device_put_global,
    make_mesh,
    member_sharded,
    mesh_shape,
    replicated,
    use_all_cpu_cores,
)
from seadlif_jax.parallel.processes import (
    allgather,
    barrier,
    broadcast,
    is_first_process,
    is_key,
    key_data,
    to_host,
)
from seadlif_jax.parallel.spmd import (
    BatchShard,
    Parallelized,
    add_member_axis,
    free_device_bytes,
    max_width,
    parallelize,
    select_member,
    temporary_bytes,
)

__all__ = [
    "BATCH",
    "MEMBER",
    "BatchShard",
    "Parallelized",
    "add_member_axis",
    "allgather",
    "barrier",
    "broadcast",
    "choose_mesh",
    "device_put_global",
    "free_device_bytes",
    "is_first_process",
    "is_key",
    "key_data",
    "make_mesh",
    "max_width",
    "member_sharded",
    "mesh_shape",
    "parallelize",
    "replicated",
    "select_member",
    "temporary_bytes",
    "to_host",
    "use_all_cpu_cores",
]
