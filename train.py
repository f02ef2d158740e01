"""Trains a network as a config says.

    python train.py --config=configs/<task>.py[:variant] [--workdir=DIR] [--config.<field>=<value> ...]

The run's results, pictures and checkpoints are left in DIR, by default runs/<task>[-<variant>]-seed<seed>. The same
command again continues an interrupted run.

    python train.py --config=... --config.sweep.seed="(0,1,2)" --config.sweep.learning_rate="(0.003,0.01,0.03)"

trains all combinations in one program, in runs/<task>[-<variant>]-sweep-<names> (see seadlif_jax/sweep.py).

On several machines, the same command on each, with --distributed, is one run; with a folder that all of them see. Where
JAX does not find out by itself which machines there are, --coordinator, --num_processes and --process_id say it.
"""

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from seadlif_jax import parallel
from seadlif_jax.cli.checked_jax import jax
from seadlif_jax.cli.common import cache_folder, errors_in_one_line, parse_flags, prepare_jax, protect_output
from seadlif_jax.config import SWEPT, ConfigError, is_sweep, normalize, validate
from seadlif_jax.parallel.coordinator import CoordinatorError, reserve
from seadlif_jax.runs.files import timestamp
from seadlif_jax.training import fit
from seadlif_jax.training.report import describe_result

CONFIG = config_flags.DEFINE_config_file("config", None, "The config: configs/<task>.py[:variant].", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for all that the run leaves (default: runs/<name>).")

DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Be one of the processes of a run on several machines.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "Address HOST:PORT of the first process.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)


def check_flags() -> None:
    if CONFIG.value is None:
        sys.exit("error: --config is missing; try --config=configs/bsd.py:quick")
    if not DISTRIBUTED.value and any((COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value is not None)):
        sys.exit("error: --coordinator, --num_processes and --process_id are of use only with --distributed")
    CONFIG.value.is_locked  # noqa: B018  a config file that failed to load tells so only when it is used


def default_workdir(config_file: str, config: ConfigDict) -> Path:
    """`configs/bsd.py:quick,lif` with seed 3 -> `runs/bsd-lif-quick-seed3`."""
    path, _, variant = config_file.partition(":")
    words = sorted(word.replace(os.sep, "_") for word in variant.split(",") if word)
    own = [f"seed{config.seed}"]
    if is_sweep(config):
        own = ["sweep", *(name for name in SWEPT if len(config.sweep[name]))]
    return Path("runs") / "-".join((Path(path).stem, *words, *own))


def join_other_processes() -> None:
    try:
        if COORDINATOR.value is not None:
            cache = cache_folder()
            reserve(COORDINATOR.value, PROCESS_ID.value or 0, cache and cache / "coordinators")
        jax.distributed.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    except CoordinatorError as error:
        sys.exit(f"error: --coordinator={error}")
    except (RuntimeError, ValueError) as error:
        sys.exit(f"error: --distributed: {error}; give --coordinator, --num_processes and --process_id")


def main(_: Sequence[str]) -> None:
    if DISTRIBUTED.value:
        join_other_processes()
    prepare_jax()
    try:
        config = normalize(CONFIG.value)
        validate(config)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    workdir = WORKDIR.value or default_workdir(flags.FLAGS["config"].config_filename, config)
    started = timestamp()
    with errors_in_one_line(f"the same command continues the run in {workdir}"):
        result = fit(config, workdir)
    if parallel.is_first_process():
        if result["finished"] < started:
            print(f"already finished on {result['finished']}")
        print("\n".join(describe_result(result)))
        print(f"results and pictures: {workdir}")


if __name__ == "__main__":
    protect_output()
    parallel.use_all_cpu_cores()  # before the config, which may use JAX
    app.run(main, flags_parser=functools.partial(parse_flags, check=check_flags))
