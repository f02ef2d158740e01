"""Starting JAX: one line for an environment variable that cannot be, and a folder for compiled programs."""

import contextlib
import os
import sys
from collections.abc import Iterator

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
