"""The command `seadlif`; each subcommand has a file here.

    seadlif import model.ckpt --workdir=DIR     a checkpoint of the authors' PyTorch program becomes a run

`train.py`, `evaluate.py`, `look.py` and `compare.py` of the repository are commands of their own.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from seadlif_jax.cli import import_command


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(f"error: {message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the subcommand that the command line names; an error of the user's ends it with one line."""
    parser = _Parser(
        prog="seadlif",
        description="Spiking networks of adaptive LIF neurons. Runs are trained, tested, inspected and compared with "
        "train.py, evaluate.py, look.py and compare.py of a clone of the repository.",
        allow_abbrev=False,
    )
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    import_command.add_to(subcommands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except import_command.USER_ERRORS as error:
        sys.exit(f"error: {error}")
