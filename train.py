"""Trains a network as a config says.

    python train.py --config=configs/<task>.py[:variant] [--workdir=DIR] [--config.<field>=<value> ...]

The run's results, pictures and checkpoints are left in DIR, by default runs/<task>[-<variant>]-seed<seed>. The same
command again continues an interrupted run.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from data.dataset import DataError
from seadlif_jax.checkpoint import CheckpointError
from seadlif_jax.config import ConfigError
from seadlif_jax.dataset import DatasetError
from seadlif_jax.run import RunError, timestamp
from seadlif_jax.training import DivergenceError, train_and_evaluate

CONFIG = config_flags.DEFINE_config_file("config", None, "The config: configs/<task>.py[:variant].", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for all that the run leaves (default: runs/<name>).")


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line; what is wrong with it, or with the config file, is said in one line."""
    try:
        rest = flags.FLAGS(argv)
        if CONFIG.value is None:
            sys.exit("error: --config is missing; try --config=configs/bsd.py:quick")
        CONFIG.value.is_locked  # noqa: B018  a config file that failed to load tells so only when it is used
    except Exception as error:  # a config file is code of the user's
        sys.exit(f"error: {_reason(error)}")
    if rest[1:]:
        sys.exit(f"error: {rest[1]!r}: not understood; every argument has the form --name=value")
    return rest


def _reason(error: Exception) -> str:
    """The message of an error in one line; of an error in `get_config`, which comes with a traceback, its last."""
    message: object = error
    while isinstance(message, BaseException) and len(message.args) == 1:
        message = message.args[0]  # an error may carry another one as its message
    lines = str(message).strip().splitlines()
    text = lines[-1] if "Traceback" in str(message) else " ".join(" ".join(lines).split())
    text = text.removeprefix("seadlif_jax.config.ConfigError: ")
    text = text.partition("Attempted [Relative path]: ")[2] or text
    return f"unknown config field {text}" if "Did you mean" in text and "flag" not in text else text


def default_workdir(config_file: str, seed: int) -> Path:
    """`configs/bsd.py:quick,lif` with seed 3 -> `runs/bsd-lif-quick-seed3`."""
    path, _, variant = config_file.partition(":")
    words = sorted(filter(None, variant.split(",")))
    return Path("runs") / "-".join((Path(path).stem, *words, f"seed{seed}"))


def main(_: Sequence[str]) -> None:
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # orbax tells every step of a save
    config = CONFIG.value
    workdir = WORKDIR.value or default_workdir(flags.FLAGS["config"].config_filename, config.seed)
    started = timestamp()
    try:
        result = train_and_evaluate(config, workdir)
    except KeyboardInterrupt:
        print(f"interrupted; the same command continues the run in {workdir}", file=sys.stderr, flush=True)
        # Saves are complete by now, but a computation may still be under way, and the interpreter cannot be taken down
        # under it.
        os._exit(130)
    except (CheckpointError, ConfigError, DataError, DatasetError, DivergenceError, OSError, RunError) as error:
        sys.exit(f"error: {error}")
    if result["finished"] < started:
        print(f"already finished on {result['finished']}")
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in result["test"].items())
    print(f"test {metrics}  ({result['protocol']}: epoch {result['best_epoch']})")
    print(f"results and pictures: {workdir}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
