"""Train a network as a config says.

    seadlif train --config=FILE[:VARIANT] [--workdir=DIR] [--config.<field>=<value> ...]

The run's results, pictures and checkpoints are left in DIR, by default runs/<file>[-<variant>]-seed<seed>. The same
command resumes an interrupted run. The loader that the config names is looked for beside the config file, in the folder
above it, in the current folder, and among the installed packages.

    seadlif train --config=... --config.sweep.seed="(0,1,2)" --config.sweep.learning_rate="(0.003,0.01,0.03)"

trains all combinations in one program, in runs/<file>[-<variant>]-sweep-<names>.

On several machines, the same command on each, with --distributed and a folder that all of them see, is one run. Where
JAX does not detect the machines, pass --coordinator, --num_processes and --process_id.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from seadlif_jax.build import build_task
from seadlif_jax.cli.environment import prepare_jax
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.flags import ConfigFileParser, option, parse_flags
from seadlif_jax.config import is_sweep, normalize, swept_fields, validate
from seadlif_jax.data.loader import record_folders
from seadlif_jax.parallel import is_first_process, use_all_cpu_cores
from seadlif_jax.parallel.coordinator import CoordinatorError, reserve
from seadlif_jax.training import fit
from seadlif_jax.training.report import describe_result
from seadlif_jax.utils.modules import search_path
from seadlif_jax.utils.paths import cache_folder


def define_flags(argv: Sequence[str], folders: Sequence[Path] = ()) -> flags.FlagValues:
    """Return the command's flags, which are parsed from `argv` later; `folders` are searched for the neuron."""
    values = flags.FlagValues()
    # ml_collections imports every config file under this name, and would keep what an earlier one has defined.
    sys.modules.pop("config_config", None)
    config_flags.DEFINE_config_file(
        "config", None, "Config file FILE.py[:VARIANT].", flag_values=values, lock_config=True, sys_argv=list(argv)
    )
    values["config"].parser = ConfigFileParser(values["config"].parser, argv, folders)
    flags.DEFINE_string("workdir", None, "Folder of the run (default: runs/<name>).", flag_values=values)
    flags.DEFINE_bool("distributed", False, "Be one of the processes of a run on several machines.", flag_values=values)
    flags.DEFINE_string("coordinator", None, "Address HOST:PORT of the first process.", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "Number of processes.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0, flag_values=values)
    return values


def check_flags(values: flags.FlagValues) -> None:
    """Exit with one line if the flags do not fit together."""
    if values.config is None and values["config"].present:
        sys.exit("error: --config: get_config() of the file returned None; end it with `return config`")
    if values.config is None:
        sys.exit("error: --config is missing; pass a config file, such as --config=configs/bsd.py:quick")
    if not values.distributed and (values.coordinator or values.num_processes or values.process_id is not None):
        sys.exit("error: --coordinator, --num_processes and --process_id require --distributed")
    values.config.is_locked  # noqa: B018  the error of a config file that failed to load is raised on its first use


def default_workdir(config_file: str, config: ConfigDict) -> Path:
    """Return the default of --workdir: for `configs/bsd.py:quick,lif` and seed 3, `runs/bsd-lif-quick-seed3`."""
    path, _, variant = config_file.partition(":")
    words = sorted(word.replace(os.sep, "_") for word in variant.split(",") if word)
    varied = [f"seed{config.seed}"]
    if is_sweep(config):
        varied = ["sweep", *(name for name in swept_fields(config) if len(config.sweep[name]))]
    return Path("runs") / "-".join((Path(path).stem, *words, *varied))


def loader_folders(config_file: str) -> list[Path]:
    """Return the folders that are searched for a config file's loader: the file's, its parent, the current one."""
    folder = Path(config_file.partition(":")[0]).expanduser().resolve().parent
    return [folder, folder.parent, Path.cwd()]


def join_other_processes(values: flags.FlagValues) -> None:
    """Make this process one of those of a run on several machines."""
    try:
        if values.coordinator is not None:
            cache = cache_folder()
            reserve(values.coordinator, values.process_id or 0, cache and cache / "coordinators")
        jax.distributed.initialize(values.coordinator, values.num_processes, values.process_id)
    except CoordinatorError as error:
        sys.exit(f"error: --coordinator={error}")
    except (RuntimeError, ValueError) as error:
        sys.exit(f"error: --distributed: {error}; pass --coordinator, --num_processes and --process_id")


def main(arguments: Sequence[str]) -> None:
    """Run `seadlif train`."""
    argv = ["seadlif train", *arguments]
    config_file = option(argv, "config")
    folders = loader_folders(config_file) if config_file else []
    values = define_flags(argv, folders)
    if {"--help", "-help", "-h"}.intersection(arguments):
        print(f"{__doc__}\n" + "\n".join(f"  --{name:16}{values[name].help}" for name in values))
        return
    use_all_cpu_cores()  # before the config, which may use JAX
    with search_path(folders):
        parse_flags(argv, lambda: check_flags(values), values)
        assert config_file is not None
        if values.distributed:
            join_other_processes(values)
        prepare_jax()
        workdir = values.workdir or default_workdir(config_file, values.config)
        with errors_in_one_line(f"the same command resumes the run in {workdir}"):
            config = normalize(values.config)
            validate(config)
            config = record_folders(config, folders)
            result = fit(config, workdir)
    if is_first_process():
        print("\n".join(describe_result(result, build_task(config))))
        print(f"results and pictures: {workdir}")
