"""The command line that all studies share."""

import functools
import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from seadlif_jax import parallel
from seadlif_jax.cli.environment import prepare_jax, quiet_libraries
from seadlif_jax.cli.flags import parse_flags
from seadlif_jax.utils.paths import local_path

FOLDER = flags.DEFINE_string("output_dir", None, "Folder for tables, figures and runs.", required=True)


def check_flags() -> None:
    local_path(FOLDER.value, "--output_dir")


def run(study: Callable[[], None]) -> None:
    """Run a study as a command: parse the flags, prepare JAX, call `study`."""
    parallel.use_all_cpu_cores()
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        for flag in defined if module.startswith("studies.") else ():
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)  # --help lists the key flags of the main module

    def main(_: Sequence[str]) -> None:
        prepare_jax()
        with quiet_libraries():
            study()

    app.run(main, flags_parser=functools.partial(parse_flags, check=check_flags))
