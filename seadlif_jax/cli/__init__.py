"""The command `seadlif`, each of whose commands is in a file here.

Neither JAX nor a command is imported before `main` runs, so that mistakes in JAX's environment variables are one line.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

from seadlif_jax.cli.environment import import_jax, protect_output
from seadlif_jax.utils.errors import missing_package

# Each command, in the module of this folder with `_command` after its name, and its line in `seadlif --help`.
COMMANDS = {
    "train": "train a network, or a sweep of many, as a config says",
    "evaluate": "test a run class by class, for its costs, and under shifts of its input",
    "inspect": "draw the spikes, parameters and gradients of a run",
    "predict": "classify recordings with the network of a run",
    "compare": "list runs side by side, with their learning curves",
    "export": "write a run's network as C code for a device, or as a file for JAX",
    "import": "make a run of a checkpoint of the authors' PyTorch program",
}
HELP = "\n".join(
    (
        "usage: seadlif COMMAND [OPTION ...]",
        "",
        "Spiking neural networks of adaptive LIF neurons in JAX.",
        "",
        *(f"  {name:10}{line}" for name, line in COMMANDS.items()),
        "",
        "seadlif COMMAND --help lists the options of a command; seadlif --version is the version.",
    )
)


def console(*first: str) -> None:
    """Run `seadlif` as the program of this process, with some arguments before those of its command line."""
    protect_output()
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))  # the script's folder, or the current one: the user's modules come last
    main([*first, *sys.argv[1:]])


def main(arguments: Sequence[str]) -> None:
    """Run the command that the arguments name; an error of the user's exits with one line."""
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h", "help"):
        print(HELP)
        return
    if name == "--version":
        from seadlif_jax.version import __version__

        print(f"seadlif-jax {__version__}")
        return
    if name not in COMMANDS:
        similar = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {similar[0]}?" if similar else f"the commands are {', '.join(COMMANDS)}"
        sys.exit(f"error: {name!r} is not a command of seadlif; {hint}")
    try:
        import_jax()
        command = importlib.import_module(f"seadlif_jax.cli.{name}_command")
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        sys.exit(f"error: {missing}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    command.main(arguments[1:])
