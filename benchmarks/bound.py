"""A training step compared with its matrix products alone.

    python -m benchmarks.bound [--shapes=shd_small,bsd] [--output=benchmarks/results/bound-cpu.json]

Times the matrix products of the hidden layers by kind, on the same devices and in the same chunks as in training: the
products of the recurrence, which are sequential, forward and backward; the products of the inputs, for all steps of a
chunk at once; and the products for the gradients of the weights. Their sum is a lower bound for a step with the
compiler's matrix products. The training step is timed without and with dropout. Everything is measured in turn,
round by round; the table has the medians in ms.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks import machine
from benchmarks.peers import ours
from benchmarks.report import align, save
from benchmarks.shapes import SHAPES, Shape, refuse_unknown
from seadlif_jax import parallel
from seadlif_jax.nn.execution import Execution
from seadlif_jax.runs.files import versions

NAMES = flags.DEFINE_list("shapes", list(SHAPES), f"Sizes to measure: {', '.join(SHAPES)}.")
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/bound-cpu.json", "File for the result.")
ROUNDS = 7


def products(shape: Shape) -> dict[str, Callable[[], object]]:
    """Return functions that compute the products of a training step, by kind."""
    mesh, execution = parallel.choose_mesh(shape.batch_size), Execution()
    batch = shape.batch_size // mesh.size
    chunk = execution.chunk_steps(shape.steps, batch * max(shape.hidden) * 4)
    layers = list(itertools.pairwise((shape.channels, *shape.hidden)))

    def recurrence(weights):
        states = [jnp.ones((batch, len(w))) for w in weights]
        return jax.lax.fori_loop(0, shape.steps, lambda _, zs: list(map(execution.matmul, zs, weights)), states)

    def transposed(weights):
        states = [jnp.ones((batch, len(w))) for w in weights]
        return jax.lax.fori_loop(
            0, shape.steps, lambda _, ds: [execution.matmul(d, w.T) for d, w in zip(ds, weights, strict=True)], states
        )

    def inputs(operands):
        def product(_, chunks):
            return None, [execution.matmul(x, w).min() for x, w in zip(chunks, operands[1], strict=True)]

        return jax.lax.scan(product, None, operands[0])

    def gradients(operands):
        def add(total, chunks):
            return [t + execution.sum_of_outer_products(d, x) for t, (d, x) in zip(total, chunks, strict=True)], None

        zeros = [jnp.zeros((d.shape[-1], x.shape[-1])) for d, x in operands]
        return jax.lax.scan(add, zeros, operands)

    def sequence(features):
        return jnp.ones((math.ceil(shape.steps / chunk), chunk, batch, features))

    projections = [*layers, *((width, channels) for channels, width in layers[1:])]  # backward: to the layer below
    arguments = {
        recurrence: [jnp.eye(width) for _, width in layers],
        transposed: [jnp.eye(width) for _, width in layers],
        inputs: ([sequence(m) for m, _ in projections], [jnp.ones(size) for size in projections]),
        gradients: [(sequence(width), sequence(channels + width)) for channels, width in layers],
    }

    def ready(function):
        run, operands = (
            parallel.parallelize(function, mesh),
            jax.device_put(arguments[function], parallel.replicated(mesh)),
        )
        return lambda: run(operands)

    return {
        "recurrence, forward": ready(recurrence),
        "recurrence, backward": ready(transposed),
        "inputs": ready(inputs),
        "weights' gradients": ready(gradients),
    }


def steps(shape: Shape) -> dict[str, Callable[[], object]]:
    """Return the training step, without dropout and with the dropout of the config."""
    config = shape.config.copy_and_resolve_references()
    config.model.dropout = 0.0
    without, whole = (ours.build(each, engine="xla") for each in (shape._replace(config=config), shape))
    return {"step without dropout": lambda: without.train_step(1), "step": lambda: whole.train_step(1)}


def medians(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median milliseconds of each function, measured in turn after two warm-up rounds."""
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(ROUNDS + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number >= 2:
                samples[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in samples.items()}


def main(_: Sequence[str]) -> None:
    refuse_unknown(NAMES.value)
    parallel.use_all_cpu_cores()
    result: dict[str, Any] = {"machine": machine.describe(), "versions": versions(), "shapes": {}}
    lines: list[tuple[str, ...]] = []
    for name in NAMES.value:
        before = machine.load()
        parts = products(SHAPES[name])
        milliseconds = medians({**parts, **steps(SHAPES[name])})
        milliseconds["products"] = sum(milliseconds[part] for part in parts)
        milliseconds["share"] = milliseconds["products"] / milliseconds["step"]
        result["shapes"][name] = {"load_before": before, **milliseconds}
        lines = lines or [("shape", "devices", *milliseconds)]
        values = [f"{value:.2f}" if key == "share" else f"{value:.0f}" for key, value in milliseconds.items()]
        lines.append((name, str(parallel.choose_mesh(SHAPES[name].batch_size).size), *values))
    print(align(lines))
    save(result, OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
