"""What a command finds around it: JAX and its environment variables, a folder for compiled programs, output streams."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from seadlif_jax.utils.paths import compiled_folder


def import_jax() -> None:
    """Import JAX, which reads its environment variables then; exit with one line if one of them is impossible."""
    try:
        import jax  # noqa: F401
    except (ValueError, AssertionError, RuntimeError) as error:
        sys.exit(f"error: JAX cannot start: {error}; correct or unset this environment variable")


def prepare_jax() -> None:
    """Prepare JAX for a command: its checks of promotion, its compilation cache, and its devices."""
    import jax

    _cache_compiled_programs()
    # Checks for those who write JAX code: broadcasting, transfers and a first best score of -inf are meant here.
    jax.config.update("jax_numpy_rank_promotion", "allow")
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    jax.config.update("jax_transfer_guard", "allow")
    jax.config.update("jax_debug_infs", False)
    if jax.config.values["jax_disable_jit"]:
        print("warning: JAX_DISABLE_JIT is set: nothing is compiled, and training takes hours", file=sys.stderr)
    try:
        with quiet_libraries():
            jax.numpy.zeros(()).block_until_ready()
    except Exception as error:  # AssertionError, RuntimeError, ValueError, by platform
        settings = [f"{name}={os.environ[name]}" for name in ("JAX_PLATFORMS", "JAX_DEFAULT_DEVICE") if os.getenv(name)]
        reason = str(error).partition("\n")[0] or "no such device"
        sys.exit(
            f"error: JAX cannot use a device ({': '.join([*settings, reason])}); unset JAX_PLATFORMS and "
            "JAX_DEFAULT_DEVICE, or install JAX for the device"
        )


def _cache_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache folder, unless its own settings name another."""
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    if folder := compiled_folder():
        jax.config.update("jax_compilation_cache_dir", str(folder))


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Show no log lines of libraries: orbax logs each step of a save, and raises errors as well.

    In programs with absl's flags, --verbosity shows them.
    """
    from absl import flags, logging

    if "verbosity" in flags.FLAGS and flags.FLAGS["verbosity"].present:
        yield
        return
    verbosity, hook = logging.get_verbosity(), sys.unraisablehook
    logging.set_verbosity(logging.FATAL)
    sys.unraisablehook = _report_unraisable
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        sys.unraisablehook = hook


def _report_unraisable(problem: "sys.UnraisableHookArgs") -> None:
    """Report an error without a caller, except orbax's late "Event loop is closed" after a failed save."""
    if str(problem.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(problem)


def protect_output() -> None:
    """Let no failed print end the program: a closed pipe, a lost terminal, a character that cannot be encoded."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # descriptors 0 to 2, if closed, would be given to the next files that are opened
    os.close(descriptor)
    sys.stdout, sys.stderr = (_Output(stream or open(os.devnull, "w")) for stream in (sys.stdout, sys.stderr))  # noqa: SIM115


class _Output:
    """A text stream that discards its output after an error."""

    def __init__(self, stream: Any):
        self._stream = stream
        stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        with self._discarding():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._discarding():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: the stream is closed
            # What is buffered, and what follows, goes to the null device.
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
