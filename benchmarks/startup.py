"""Compile time of every config: the cost of a first start, without data and training.

    python -m benchmarks.startup [--output=benchmarks/results/startup-cpu.json]

Traces, lowers and compiles the programs of `train.py`: initialisation, training steps, end of an epoch, and test, for
each config and variant, on random samples with the shapes of the task. The compilation cache is off.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks import machine
from benchmarks.progress import progress
from benchmarks.report import align, save
from benchmarks.shapes import SHAPES, random_samples
from configs import bsd, ecg, oscillation, shd, ssc
from seadlif_jax.data.dataset import Dataset, Split
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.runs.folder import versions
from seadlif_jax.training import sweep
from seadlif_jax.training.task import Task

OUTPUT = flags.DEFINE_string("output", "benchmarks/results/startup-cpu.json", "File for the result.")
CONFIGS = {"bsd": bsd, "ecg": ecg, "oscillation": oscillation, "shd": shd, "ssc": ssc}


def every_config() -> Iterator[tuple[str, ConfigDict]]:
    """Yield all configs and variants, with their names after `--config=configs/`."""
    for task, module in CONFIGS.items():
        for words in itertools.product(*module.CHOICES.values()):
            yield f"{task}.py:{','.join(words)}", module.get_config(",".join(words))


def dataset_for(task: str, config: ConfigDict) -> Dataset:
    """Return random samples with the shapes of the task, two batches per split."""
    count = 2 * config.batch_size
    if task == "oscillation":
        steps, channels = config.data.num_steps, config.data.num_classes
        split = Split(
            np.zeros((count, steps, channels), np.float32),
            np.zeros((count, steps + 1, channels), np.float32),
            np.ones((count, steps), np.uint8),
        )
    else:
        split = random_samples(SHAPES[task]._replace(config=config), count)
    return Dataset(split, split, split, "none")


def compile_seconds(task: str, config: ConfigDict) -> dict[str, float]:
    """Return the compile time of each program in seconds, and their sum."""
    jax.clear_caches()
    start = time.perf_counter()
    prepared = Task.prepare(config, sweep.members(config), dataset_for(task, config))
    seconds = {"initial state": time.perf_counter() - start}
    program, state, sums, hyper = prepared.program, prepared.initial, prepared.no_sums, prepared.hyper
    for name, function, own, shared in (
        ("training", program.train_steps, (state, sums, hyper), (prepared.train, 0, 1)),
        ("end of epoch", program.end_epoch, (state, sums, hyper), (prepared.validation,)),
        ("test", program.evaluate, (state.best.params, state.constants, hyper), (prepared.test,)),
    ):
        start = time.perf_counter()
        devices.program(function, prepared.mesh, len(own), prepared.width).lower(own, shared).compile()
        seconds[name] = time.perf_counter() - start
    return {**seconds, "all": sum(seconds.values())}


def main(_: Sequence[str]) -> None:
    devices.one_per_core()
    jax.config.update("jax_enable_compilation_cache", False)
    jnp.zeros(1).block_until_ready()  # excludes the start of JAX
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": versions(),
        "load": machine.load(),
        "seconds": {},
    }
    for name, config in every_config():
        progress(name)
        result["seconds"][name] = compile_seconds(name.partition(".")[0], config)
    progress("")
    lines = [("config", *next(iter(result["seconds"].values())))]
    lines += [(name, *(f"{value:.1f}" for value in seconds.values())) for name, seconds in result["seconds"].items()]
    print(align(lines))
    save(result, OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
