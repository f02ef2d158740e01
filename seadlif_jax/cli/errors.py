"""Ending a command with one line about an error of the user's, or an interruption."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

import jax

from seadlif_jax.cli.environment import quiet_libraries
from seadlif_jax.utils.errors import SeadlifError, missing_package
from seadlif_jax.utils.signals import Interrupted, stop_signals

USER_ERRORS = (SeadlifError, OSError)
EXIT_INTERRUPTED = 130
EXIT_RESUMABLE = 75  # interrupted, and the same command resumes (EX_TEMPFAIL of sysexits.h)


@contextlib.contextmanager
def errors_in_one_line(interrupted: str) -> Iterator[None]:
    """Exit with one line about an error of the user's, or an interruption.

    Args:
      interrupted: the line's second half after an interruption, such as "the same command resumes the run".
    """
    with _stop_signals_raise(), quiet_libraries():
        try:
            yield
        except KeyboardInterrupt as interrupt:
            print(f"interrupted; {interrupted}", file=sys.stderr, flush=True)
            # Saves are complete by now, unless there was a second signal, but a computation may still be running, and
            # the interpreter cannot be shut down under it.
            os._exit(EXIT_RESUMABLE if isinstance(interrupt, Interrupted) else EXIT_INTERRUPTED)
        except ModuleNotFoundError as error:
            missing = missing_package(error)
            if missing is None:
                raise
            _exit(missing)
        except USER_ERRORS as error:
            _exit(error)


def _exit(error: Exception) -> None:
    if jax.process_count() > 1:
        # An orderly end would wait for the other processes, and these for this one.
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    sys.exit(f"error: {error}")


@contextlib.contextmanager
def _stop_signals_raise() -> Iterator[None]:
    """Let stop signals raise `Interrupted`: outside of training, which defers them, there is nothing to save."""

    def stop(*_: object) -> None:
        raise Interrupted

    previous = {number: signal.signal(number, stop) for number in stop_signals() if number != signal.SIGINT}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
