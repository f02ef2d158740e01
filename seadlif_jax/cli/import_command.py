"""Make a run of a checkpoint of the authors' PyTorch program.

    seadlif import model.ckpt --workdir=DIR [--config=FILE[:VARIANT]]

DIR is then a run for `seadlif evaluate`, `seadlif inspect`, `seadlif compare` and `load_run`. Neither torch nor any
code in the file is run. The configs of a clone, in configs/, describe the data, unless --config names another file.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.parsers import Parser
from seadlif_jax.cli.train_command import loader_folders
from seadlif_jax.config import ConfigError, normalize
from seadlif_jax.data.loader import record_folders
from seadlif_jax.interop.lightning import read_reference_checkpoint
from seadlif_jax.interop.run_import import import_checkpoint
from seadlif_jax.interop.settings import REFERENCE_DATASETS, ConversionError, find_dataset
from seadlif_jax.utils.modules import search_path


def main(arguments: Sequence[str]) -> None:
    """Run `seadlif import`."""
    parser = Parser("import", __doc__)
    parser.add_argument("checkpoint", type=Path, help="Lightning file, *.ckpt")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="new folder for the run")
    parser.add_argument(
        "--config",
        metavar="FILE[:VARIANT]",
        help="config whose settings of the data replace those of the checkpoint, for other data sets",
    )
    options = parser.parse_args(arguments)
    with errors_in_one_line("nothing was imported"):
        path = options.checkpoint.expanduser()
        checkpoint = read_reference_checkpoint(path)
        dataset = None if options.config else find_dataset(checkpoint)
        if not options.config and dataset is None:
            known = ", ".join(f"datasets.{name}" for name in sorted(REFERENCE_DATASETS))
            raise ConversionError(
                f"{path} was trained on unknown data (cfg.dataset._target_ is none of {known}); pass --config=FILE, a "
                "config that names their loader"
            )
        config = load_config(options.config or f"configs/{dataset}.py")
        imported = import_checkpoint(path, checkpoint, config, options.workdir, dataset)
    model = imported.config.model
    for warning in imported.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{path.name}: {model.neuron}, {'+'.join(map(str, model.hidden))} neurons, epoch {imported.epoch}")
    print(f"imported to {options.workdir}; to test it: seadlif evaluate --workdir={options.workdir}")


def load_config(name: str) -> ConfigDict:
    """Return the config that `FILE[:VARIANT]` names, from the function `get_config` in the file.

    Raises:
      ConfigError: there is no such file, or it fails.
    """
    file, _, variant = name.partition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no {file} here; run this in a clone of the repository, or pass --config=FILE")
    spec = importlib.util.spec_from_file_location("_imported_config", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is not a Python file; pass a config such as configs/shd.py")
    module = importlib.util.module_from_spec(spec)
    folders = loader_folders(name)
    with search_path(folders):
        try:
            spec.loader.exec_module(module)
            config = module.get_config(variant) if variant else module.get_config()
        except Exception as error:  # code of the user's
            raise ConfigError(f"{name}: {' '.join(str(error).split()) or type(error).__name__}") from error
        try:
            return record_folders(normalize(config), folders)
        except ConfigError:  # no loader is needed to use the network on other data
            return config
