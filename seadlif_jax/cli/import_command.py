"""`seadlif import`: a checkpoint of the authors' PyTorch program becomes a run that is evaluated like one of ours."""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError
from seadlif_jax.interop.lightning import read_reference_checkpoint
from seadlif_jax.interop.run_import import import_checkpoint
from seadlif_jax.interop.settings import REFERENCE_DATASETS, ConversionError, find_dataset
from seadlif_jax.interop.torch_file import TorchFileError
from seadlif_jax.runs.errors import CheckpointError, RunError
from seadlif_jax.utils.paths import PathError

USER_ERRORS = (CheckpointError, ConfigError, ConversionError, OSError, PathError, RunError, TorchFileError)


def add_to(subcommands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand to those of a parser."""
    parser = subcommands.add_parser(
        "import",
        help="make a run of a checkpoint of the authors' PyTorch program",
        description="Make a run of a Lightning checkpoint of the authors' program, for evaluate.py, look.py and "
        "load_run. Neither torch nor any code of the file is run. To be called in a clone of the repository, "
        "whose configs/ describe the data, unless --config names a file.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, help="the file, *.ckpt")
    parser.add_argument("--workdir", required=True, help="folder of the run, new")
    parser.add_argument(
        "--config",
        metavar="FILE[:VARIANT]",
        help="a config whose data settings are used in place of those in the checkpoint, for other data sets",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Import the checkpoint, and print what it was, what to be wary of, and what to do next."""
    logging.set_verbosity(logging.FATAL)  # orbax reports every step of a save, and raises what goes wrong
    path = options.checkpoint.expanduser()
    checkpoint = read_reference_checkpoint(path)
    dataset = None if options.config else find_dataset(checkpoint)
    if not options.config and dataset is None:
        known = ", ".join(f"datasets.{name}" for name in sorted(REFERENCE_DATASETS))
        raise ConversionError(
            f"{path} was trained on data that are not known here (cfg.dataset._target_ is none of {known}); "
            "pass --config=FILE, a config that names their loader"
        )
    imported = import_checkpoint(
        path, checkpoint, load_config(options.config or f"configs/{dataset}.py"), options.workdir, dataset
    )
    model = imported.config.model
    for warning in imported.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{path.name}: {model.neuron}, {'+'.join(map(str, model.hidden))} neurons, epoch {imported.epoch}")
    print(f"imported to {options.workdir}; to test it: python evaluate.py --workdir={options.workdir}")


def load_config(name: str) -> ConfigDict:
    """Return the config that `FILE[:VARIANT]` names, by the function `get_config` in the file.

    Raises:
      ConfigError: there is no such file, or it fails.
    """
    file, _, variant = name.partition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no {file} here; call this in a clone of the repository, or pass --config=FILE")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # where configs import others from, as for train.py
    spec = importlib.util.spec_from_file_location("_config_of_import", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is not a Python file; give a config such as configs/shd.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(variant) if variant else module.get_config()
    except Exception as error:  # a config file is code of the user's
        raise ConfigError(f"{name}: {' '.join(str(error).split()) or type(error).__name__}") from error
