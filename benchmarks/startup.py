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
from seadlif_jax import parallel
from seadlif_jax.data.dataset import Dataset, Split
from seadlif_jax.members import expand_sweep
from seadlif_jax.runs.files import versions
from seadlif_jax.training.setup import prepare

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
        steps, channels = config.data.num_steps, config.data.num_masses
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
    prepared = prepare(config, expand_sweep(config), dataset_for(task, config))
    seconds = {"initial state": time.perf_counter() - start}
    state, hyper = prepared.initial, prepared.hyper
    running = prepared.start_epoch(state)
    for name, function, arguments in (
        ("training", prepared.train_steps, (state, running, hyper, prepared.train, 0, 1)),
        ("end of epoch", prepared.end_epoch, (state, running, hyper, prepared.validation, 0)),
        ("test", prepared.evaluate, (state.best.variables, hyper, prepared.test)),
    ):
        start = time.perf_counter()
        function.lower(*arguments).compile()
        seconds[name] = time.perf_counter() - start
    return {**seconds, "all": sum(seconds.values())}


def main(_: Sequence[str]) -> None:
    parallel.use_all_cpu_cores()
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
