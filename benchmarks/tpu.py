"""Memory and operations of training and evaluation as reported by the TPU compiler, without a TPU.

    pip install "jax[tpu]"
    python -m benchmarks.tpu [--topology=v5e:2x2] [--shapes=shd,ssc,ecg] [--members=1]
                             [--output=benchmarks/results/tpu-compiler.json]

Compiles a training step and an evaluation of one batch for the devices of a topology, each with its share of the batch,
and prints the memory that each device needs, and the operations of its share of a batch.
"""

import importlib.metadata
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.experimental import topologies
from jax.sharding import Mesh

from benchmarks import machine
from benchmarks.report import align, save
from benchmarks.shapes import SHAPES, Shape, refuse_unknown
from seadlif_jax import parallel
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.nn.execution import CHUNK_MIB
from seadlif_jax.parallel import add_member_axis
from seadlif_jax.runs.files import versions
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer

TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Topology, by its name in the TPU compiler.")
NAMES = flags.DEFINE_list("shapes", ["shd", "ssc", "ecg"], f"Sizes to compile: {', '.join(SHAPES)}.")
MEMBERS = flags.DEFINE_integer("members", 1, "Members of a sweep, computed at a time.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/tpu-compiler.json", "File for the result.")


def mesh_of(topology: str) -> Mesh:
    """Return a mesh of all devices of a topology, along the batch."""
    tpus = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    return Mesh(np.reshape(tpus, (1, -1)), (parallel.MEMBER, parallel.BATCH))


def compile_for(shape: Shape, mesh: Mesh, members: int = 1) -> dict[str, jax.stages.Compiled]:
    """Return the compiled training step and evaluation, with all data of the shape on every device."""
    config = shape.config.copy_and_resolve_references()
    config.compute.chunk_mib = CHUNK_MIB["tpu"]  # the default is that of this machine
    program = Trainer(config, shard=parallel.BatchShard.on(mesh))

    def place(tree, where):
        return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where), tree)

    def split(count):
        targets = shape.steps if shape.answer_from is None else 1

        def samples():
            return Samples(
                inputs=jnp.zeros((count, shape.steps, shape.channels), jnp.uint8),
                targets=jnp.zeros((count, targets + 1), jnp.int8),
                block_index=jnp.zeros((count, shape.steps), jnp.int16),
            )

        return place(jax.eval_shape(samples), parallel.replicated(mesh))

    train, validation = split(shape.train), split(shape.validation)
    hyper = TrainingHyperparameters.from_config(config)
    state = jax.eval_shape(program.init, 0, hyper, train)
    one = (state, jax.eval_shape(program.start_epoch, state), hyper)
    own = place(jax.eval_shape(lambda tree: add_member_axis(tree, members), one), parallel.member_sharded(mesh))
    state, _, hyper = own
    number = place(jax.ShapeDtypeStruct((), np.int32), parallel.replicated(mesh))
    lowered = {
        "train": parallel.parallelize(program.train_steps, mesh, 3, None).lower(*own, train, number, number),
        "evaluate": parallel.parallelize(program.evaluate, mesh, 2, None).lower(
            state.best.variables, hyper, validation
        ),
    }
    return {name: program.compile() for name, program in lowered.items()}


def memory(compiled: jax.stages.Compiled) -> dict[str, float]:
    """Return the memory that one device needs, in MiB."""
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return {
        "data and state, MiB": analysis.argument_size_in_bytes / 2**20,
        "temporary, MiB": analysis.temp_size_in_bytes / 2**20,
        "program, MiB": analysis.generated_code_size_in_bytes / 2**20,
    }


def main(_: Sequence[str]) -> None:
    refuse_unknown(NAMES.value)
    mesh = mesh_of(TOPOLOGY.value)
    result: dict[str, Any] = {
        "topology": TOPOLOGY.value,
        "device": mesh.devices.flat[0].device_kind,
        "machine": machine.describe(),
        "versions": versions() | {"libtpu": importlib.metadata.version("libtpu")},
        "shapes": {},
    }
    lines: list[tuple[str, ...]] = []
    for name in NAMES.value:
        start = time.perf_counter()
        compiled = compile_for(SHAPES[name], mesh, MEMBERS.value)
        seconds = time.perf_counter() - start
        forward = SHAPES[name].gflop * MEMBERS.value / mesh.size
        work = {"train": 3 * forward, "evaluate": forward}
        # The count of the compiler is not used: it counts the body of a loop once.
        programs = {kind: {**memory(program), "products, Gflop": work[kind]} for kind, program in compiled.items()}
        result["shapes"][name] = {"compile_seconds": seconds, **programs}
        for kind, values in programs.items():
            lines = lines or [("shape", "program", *values)]
            lines.append((name, kind, *(f"{value:.4g}" for value in values.values())))
    print(align(lines))
    save(result, OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
