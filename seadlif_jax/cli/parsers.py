"""The parser, and the options, that evaluate, inspect, compare and import share."""

import argparse
import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

from seadlif_jax.data.dataset import SPLITS
from seadlif_jax.inference import TrainedModel, load_run
from seadlif_jax.pretrained import NAMES, load_pretrained
from seadlif_jax.runs.folder import RunError, path_of_member
from seadlif_jax.utils.paths import local_path, workdir_path

# Fields of `config.data` that may differ from the run's, named as in `seadlif train` and in the errors of loaders.
MOVABLE = {
    "dir": "folder of the data files",
    "cache_dir": "folder of the binned events",
    "loader_dir": "folder of the loader's module",
}


class Parser(argparse.ArgumentParser):
    """A parser that exits with one line about an error."""

    def __init__(self, command: str, module_docstring: str | None):
        super().__init__(
            prog=f"seadlif {command}",
            description=module_docstring,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        sys.exit(f"error: {message}; see {self.prog} --help")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a run, a split of its data, and where the data are."""
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--split", choices=SPLITS, default="test", help="split to use (default: test)")
    for field, meaning in MOVABLE.items():
        parser.add_argument(f"--config.data.{field}", metavar="DIR", help=f"{meaning}, if it is no longer the run's")
    parser.add_argument("--output_dir", metavar="DIR", help="folder for tables and pictures (default: in the run's)")


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a trained network: of a run, or one that comes with the library."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", metavar="DIR", help="folder of the run")
    source.add_argument("--pretrained", choices=NAMES, help="network that comes with the library")
    parser.add_argument("--member", type=int, help="number of the member, for a sweep")


def chosen_network(options: argparse.Namespace) -> tuple[TrainedModel, Path]:
    """Return the network of `add_network`, and the folder for its files by default."""
    if options.pretrained is not None:
        return load_pretrained(options.pretrained), Path()
    workdir = workdir_path(options.workdir)
    trained = load_run(workdir, options.member)
    folder = workdir if options.member is None else path_of_member(workdir, options.member)
    return trained, folder if folder.is_dir() else workdir  # before a sweep ends, it has no such folders


def moved_data(options: argparse.Namespace) -> dict[str, str]:
    """Return the fields of `config.data` that the command line replaces."""
    given = vars(options)
    return {field: given[name] for field in MOVABLE if given[name := f"config.data.{field}"] is not None}


def output_folder(given: str | None, default: Path) -> Path:
    """Return the folder for the files that a command leaves, created if it does not exist.

    Raises:
      RunError: the folder cannot be written to.
    """
    folder = default if given is None else local_path(given, "--output_dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise RunError(f"cannot write to {folder} ({error.strerror}); choose another --output_dir") from error
    return folder
