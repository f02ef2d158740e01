"""The command line of a study: what all of them share."""

import functools
import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from seadlif_jax.cli.environment import prepare_jax
from seadlif_jax.cli.flags import parse_flags
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.utils.paths import local_path

FOLDER = flags.DEFINE_string("output_dir", None, "Folder for all that the study leaves.", required=True)


def check_flags() -> None:
    local_path(FOLDER.value, "--output_dir")


def run(study: Callable[[], None]) -> None:
    """The command line of a study."""
    devices.one_per_core()
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        for flag in defined if module.startswith("studies.") else ():
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)  # for --help, which shows those of the program

    def main(_: Sequence[str]) -> None:
        prepare_jax()
        study()

    app.run(main, flags_parser=functools.partial(parse_flags, check=check_flags))
