"""Locks between processes: the system's `flock` on a file, where it is available."""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Errors of file systems without locks: some network file systems, and NFS without its lock service.
NOT_SUPPORTED = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
_warned: set[Path] = set()


@contextlib.contextmanager
def lock(file: Path, if_taken: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a file, which is created if it does not exist; the end of the process releases it.

    Where the file system has no locks, a warning is printed once, and nothing is locked.

    Args:
      file: the lock file.
      if_taken: called if another process holds the lock; unless it raises, this process waits for the other.

    Raises:
      OSError: the file cannot be written.
    """
    with file.open("a") as opened:
        if fcntl is None:
            _warn(file, "this system has no flock")
        else:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if_taken()
                fcntl.flock(opened, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NOT_SUPPORTED:
                    raise
                _warn(file, str(error.strerror))
        yield


def _warn(file: Path, reason: str) -> None:
    if file.parent not in _warned:
        _warned.add(file.parent)
        print(
            f"warning: files in {file.parent} cannot be locked ({reason}); do not start a second run that uses them",
            file=sys.stderr,
            flush=True,
        )
