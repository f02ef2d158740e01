"""One process at a time."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


def lock_file(path: Path) -> Path:
    """The file that stands for the right to make `path`."""
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes that would make `path` waiting, or waits for one; a process that dies gives it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(path).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that is making {path}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
