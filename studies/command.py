"""The command line of a study: what all of them share."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from command_line import keep_compiled_programs
from seadlif_jax import devices

FOLDER = flags.DEFINE_string("output_dir", None, "Folder for all that the study leaves.", required=True)


def run(study: Callable[[], None]) -> None:
    devices.one_per_core()

    def main(arguments: Sequence[str]) -> None:
        if arguments[1:]:
            sys.exit(f"error: {arguments[1]!r}: not understood; every argument has the form --name=value")
        keep_compiled_programs()
        study()

    app.run(main)
