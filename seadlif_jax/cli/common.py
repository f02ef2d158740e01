"""What the programs share: what is wrong is said in one line, and the logs of libraries stay quiet."""

import contextlib
import errno
import os
import platform
import re
import signal
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags, logging

from seadlif_jax.analysis.robustness import ShiftError
from seadlif_jax.analysis.synops import CostError
from seadlif_jax.cli.checked_jax import jax
from seadlif_jax.config import CHECKS, ConfigError, unknown_field
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.loading import DatasetError
from seadlif_jax.runs.errors import CheckpointError, RunError
from seadlif_jax.training.divergence import DivergenceError
from seadlif_jax.utils.paths import PathError, local_path
from seadlif_jax.utils.signals import Interrupted, stop_signals

OF_THE_USER = (
    CheckpointError,
    ConfigError,
    CostError,
    DataError,
    DatasetError,
    DivergenceError,
    OSError,
    PathError,
    RunError,
    ShiftError,
)
SAVED = 75  # exit status: interrupted, and the same command goes on from there (EX_TEMPFAIL of sysexits.h)


def define_moved() -> Callable[[], dict[str, str]]:
    """Flags for data that are elsewhere than when a run was trained: what the user gave, by field of `config.data`."""
    # Named as in train.py, as in the errors of loaders.
    flags_of = {
        field: flags.DEFINE_string(f"config.data.{field}", None, f"{meaning}, if another than the run's.")
        for field, meaning in (("dir", "Folder of the data files"), ("cache_dir", "Folder of the binned events"))
    }
    return lambda: {field: flag.value for field, flag in flags_of.items() if flag.value is not None}


def define_output_dir() -> Callable[[Path], Path]:
    """A flag for the folder of what a program leaves; returns a function from its default to the folder.

    That function raises a `RunError` if the folder cannot be written to.
    """
    flag = flags.DEFINE_string("output_dir", None, "Folder for tables and pictures (default: the run's).")

    def output_dir(default: Path) -> Path:
        folder = default if flag.value is None else local_path(flag.value, "--output_dir")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise RunError(f"cannot write to {folder} ({error.strerror}); choose another --output_dir") from error
        return folder

    return output_dir


def parse_flags(argv: Sequence[str], check: Callable[[], None], takes_arguments: bool = False) -> list[str]:
    """Parses the command line and calls `check`; what is wrong with it, or with a config file, is said in one line.

    Returns the name of the program, and its arguments that are no flags, if it takes any.
    """
    names = _fields_given(argv)
    for name in names:
        if names.count(name) > 1:  # tuples would be joined
            sys.exit(f"error: --config.{name} is given {names.count(name)} times; give it once")
    try:
        with warnings.catch_warnings():
            # ml_collections loads config files by a method that Python has deprecated, so that it would fail where the
            # user has made warnings errors.
            warnings.filterwarnings("ignore", r".*load_module\(\)", DeprecationWarning)
            rest = flags.FLAGS(argv)
            check()
    except Exception as error:  # a config file is code of the user's
        sys.exit(f"error: {_reason(error, argv)}")
    if rest[1:] and not takes_arguments:
        sys.exit(f"error: {rest[1]!r}: not understood; every argument has the form --name=value")
    return rest


def lines(table: Mapping[str, Sequence[Any]]) -> list[str]:
    """A table in lines of text, with its columns below each other; numbers with four digits."""

    def text(value: Any) -> str:
        if value is None:
            return "-"
        return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)

    columns = [[name, *map(text, values)] for name, values in table.items()]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


@contextlib.contextmanager
def errors_in_one_line(interrupted: str) -> Iterator[None]:
    """Ends the program with one line about an error of the user's, or an interruption; `interrupted` says what then."""
    for number in stop_signals():
        if number != signal.SIGINT:
            signal.signal(number, _stop)
    _quieten_libraries()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr, flush=True)
        # Saves are complete by now, unless there was a second signal, but a computation may still be under way, and the
        # interpreter cannot be taken down under it.
        os._exit(SAVED if isinstance(interrupt, Interrupted) else 130)
    except OF_THE_USER as error:
        if jax.process_count() > 1:
            # An orderly end would wait for the other processes, and these for this one.
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        sys.exit(f"error: {error}")


def _quieten_libraries() -> None:
    """Show no log lines of libraries unless --verbosity is given: orbax logs each step of a save, and raises errors."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.FATAL)
        sys.unraisablehook = _unraisable


def _unraisable(problem: "sys.UnraisableHookArgs") -> None:
    """Shows an error that has no caller, unless it is a write of a save that has failed by then and was told."""
    if str(problem.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(problem)


def _stop(*_: object) -> None:
    """A signal to stop, outside of training, when there is nothing to save: training has a way of its own."""
    raise Interrupted


def prepare_jax() -> None:
    """Make JAX ready for a program: its devices, its checks of promotion, and where it keeps what it compiles."""
    _quieten_libraries()
    keep_compiled_programs()
    # Checks for those who write JAX code: broadcasting, transfers and a first best score of -inf are meant here.
    jax.config.update("jax_numpy_rank_promotion", "allow")
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    jax.config.update("jax_transfer_guard", "allow")
    jax.config.update("jax_debug_infs", False)
    if jax.config.values["jax_disable_jit"]:
        print("warning: JAX_DISABLE_JIT is set: nothing is compiled, and training takes hours", file=sys.stderr)
    try:
        jax.numpy.zeros(()).block_until_ready()
    except Exception as error:  # AssertionError, RuntimeError, ValueError, by platform
        settings = [f"{name}={os.environ[name]}" for name in ("JAX_PLATFORMS", "JAX_DEFAULT_DEVICE") if os.getenv(name)]
        reason = str(error).partition("\n")[0] or "no such device"
        sys.exit(
            f"error: JAX cannot use a device ({': '.join([*settings, reason])}); unset JAX_PLATFORMS and "
            "JAX_DEFAULT_DEVICE, or install JAX for the device"
        )


def keep_compiled_programs() -> None:
    """Keeps what JAX compiles for the next start, in the user's folder for caches; JAX's own settings come first.

    Every kind of processor has a folder of its own, for homes that several machines share.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    if folder := cache_folder():
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled" / _processor()))


def cache_folder() -> Path | None:
    """Return the folder for what may be deleted at any time; None for a user without a home."""
    with contextlib.suppress(RuntimeError):
        return Path(os.getenv("XDG_CACHE_HOME") or Path.home() / ".cache") / "seadlif-jax"
    return None


def protect_output() -> None:
    """Let nothing that cannot be printed end a program: a closed pipe, a terminal that has gone, an unknown letter."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # 0 to 2 that are closed would be given to the next files to be opened
    os.close(descriptor)
    sys.stdout, sys.stderr = (_Output(stream or open(os.devnull, "w")) for stream in (sys.stdout, sys.stderr))  # noqa: SIM115


class _Output:
    """A text stream for which an error is the end of its output, and of nothing else."""

    def __init__(self, stream: Any):
        self._stream = stream
        stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        with self._giving_up():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._giving_up():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: it is closed
            # What is still buffered, and what comes, goes nowhere.
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def _processor() -> str:
    """The machine's type, with a checksum of what its processor can do, where the system tells."""
    with contextlib.suppress(OSError):
        found = re.search(r"^(flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return f"{platform.machine()}-{zlib.crc32(found[0].encode()):08x}"
    return platform.machine()


def _reason(error: Exception, argv: Sequence[str]) -> str:
    """The message of an error in one line; of an error in `get_config`, which comes with a traceback, its last."""
    message: object = error
    while isinstance(message, BaseException) and len(message.args) == 1:
        message = message.args[0]  # an error may carry another one as its message
    lines = str(message).strip().splitlines()
    text = lines[-1] if "Traceback" in str(message) else " ".join(" ".join(lines).split())
    text = text.removeprefix("seadlif_jax.config.ConfigError: ")
    text = text.partition("Attempted [Relative path]: ")[2] or text
    return _unknown_field(text, argv) or text


def _fields_given(argv: Sequence[str]) -> list[str]:
    """The fields of the config that a command line sets: `model.hidden` for `--config.model.hidden=(8,)`."""
    flags_given = [argument.lstrip("-").partition("=")[0] for argument in argv if argument.startswith("-")]
    return [name.removeprefix("config.") for name in flags_given if name.startswith("config.")]


def _unknown_field(text: str, argv: Sequence[str]) -> str | None:
    """Return the message for an unknown field of the config, if the text is an error of ml_collections about one."""
    given = _fields_given(argv)
    for name in given:
        if any(name.startswith(f"{field}.") for field in CHECKS):  # a field has no fields of its own
            return str(unknown_field(name))
    is_field = re.fullmatch(r"'[\w.]+'", text) or ("Did you mean" in text and "flag" not in text)
    key = re.search(r"""(?:Key |'|instead of )"?([\w.]+)['"]""", text)
    if not key or not (is_field or "config is locked" in text):
        return None
    # The error has a part of the name, the command line all of it, unless the field is set in the config file.
    whole = next((name for name in given if key[1] in name.split(".")), None)
    similar = re.search(r'Did you mean "(\w+)"', text)  # of the fields that a loader has for itself, too
    known = [whole.replace(key[1], similar[1])] if whole and similar else []
    return str(unknown_field(whole or key[1], known))
