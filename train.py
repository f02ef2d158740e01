"""Trains a network as a config says.

    python train.py --config=configs/<task>.py[:variant] [--workdir=DIR] [--config.<field>=<value> ...]

The run's results, pictures and checkpoints are left in DIR, by default runs/<task>[-<variant>]-seed<seed>. The same
command again continues an interrupted run.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from command_line import errors_in_one_line, keep_compiled_programs, parse_flags
from seadlif_jax import devices
from seadlif_jax.run import timestamp
from seadlif_jax.training import train_and_evaluate

CONFIG = config_flags.DEFINE_config_file("config", None, "The config: configs/<task>.py[:variant].", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for all that the run leaves (default: runs/<name>).")


def check_flags() -> None:
    if CONFIG.value is None:
        sys.exit("error: --config is missing; try --config=configs/bsd.py:quick")
    CONFIG.value.is_locked  # noqa: B018  a config file that failed to load tells so only when it is used


def default_workdir(config_file: str, seed: int) -> Path:
    """`configs/bsd.py:quick,lif` with seed 3 -> `runs/bsd-lif-quick-seed3`."""
    path, _, variant = config_file.partition(":")
    words = sorted(filter(None, variant.split(",")))
    return Path("runs") / "-".join((Path(path).stem, *words, f"seed{seed}"))


def main(_: Sequence[str]) -> None:
    keep_compiled_programs()
    config = CONFIG.value
    workdir = WORKDIR.value or default_workdir(flags.FLAGS["config"].config_filename, config.seed)
    started = timestamp()
    with errors_in_one_line(f"interrupted; the same command continues the run in {workdir}"):
        result = train_and_evaluate(config, workdir)
    if result["finished"] < started:
        print(f"already finished on {result['finished']}")
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in result["test"].items())
    print(f"test {metrics}  ({result['protocol']}: epoch {result['best_epoch']})")
    print(f"results and pictures: {workdir}")


if __name__ == "__main__":
    devices.one_per_core()  # before the config, which may use JAX
    app.run(main, flags_parser=functools.partial(parse_flags, check=check_flags))
