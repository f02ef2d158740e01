"""Time of the members of a sweep together, and one after the other.

    python -m benchmarks.sweep [--config=configs/bsd.py:quick] [--members=8] [--widths=1,2,4] [--rounds=5]
                               [--output=benchmarks/results/sweep-cpu.json]

An epoch (training, validation) of a sweep over seeds, with `widths` members computed at a time by each device; and the
same epoch of a single run, times the number of members. Uses the devices as `train.py` does; measured in turn.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from benchmarks import machine
from benchmarks.progress import progress
from benchmarks.report import align, save
from benchmarks.rounds import measure, summary
from seadlif_jax import parallel
from seadlif_jax.data.loading import load_dataset
from seadlif_jax.members import expand_sweep
from seadlif_jax.runs.files import versions
from seadlif_jax.training.setup import prepare

CONFIG = config_flags.DEFINE_config_file("config", "configs/bsd.py:quick", "Config to train.")
MEMBERS = flags.DEFINE_integer("members", 8, "Number of members.", lower_bound=1)
WIDTHS = flags.DEFINE_list("widths", ["1", "2", "4"], "Members that a device computes at a time.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of samples of each time.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "benchmarks/results/sweep-cpu.json", "File for the result.")


class Epochs:
    """Epochs of all members of a config."""

    def __init__(self, config: ConfigDict):
        self._setup = setup = prepare(config, expand_sweep(config), load_dataset(config))
        self._states = setup.initial
        self._epoch = parallel.parallelize(setup.trainer.train_epoch, setup.mesh, per_member=2, width=setup.width)

    def ask(self, method: str, quantity: str, repeats: int) -> float:
        """Return the mean seconds of an epoch over `repeats`; called by `rounds.measure`."""
        del method, quantity
        start = time.perf_counter()
        for _ in range(repeats):
            self._states, _ = jax.block_until_ready(
                self._epoch(self._states, self._setup.hyper, self._setup.train, self._setup.validation)
            )
        return (time.perf_counter() - start) / repeats


def main(_: Sequence[str]) -> None:
    parallel.use_all_cpu_cores()
    config = CONFIG.value
    before = machine.load()
    one_by_one = f"{MEMBERS.value} runs, one after the other"
    workers = {one_by_one: Epochs(config)}
    for width in map(int, WIDTHS.value):
        config.sweep.seed = tuple(range(MEMBERS.value))
        config.devices.width = width
        workers[f"together, {width} at a time"] = Epochs(config)
    samples_of = measure(workers, "epoch", ROUNDS.value, progress).samples
    samples_of[one_by_one] = [MEMBERS.value * seconds for seconds in samples_of[one_by_one]]
    progress("")
    rows = {name: summary(samples, samples_of[one_by_one]) for name, samples in samples_of.items()}
    lines = [("members", "epoch, s", "to one after the other")]
    for name, row in rows.items():
        lines.append((name, f"{row['median']:.2f} ({row['min']:.2f}-{row['max']:.2f})", f"{row['to_ours']:.2f}"))
    print(align(lines))
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": versions(),
        "devices": jax.device_count(),
        "load_before": before,
        "load_after": machine.load(),
        "epoch": rows,
    }
    save(result, OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
