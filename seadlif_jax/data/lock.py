"""One process at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


def lock_file(path: Path) -> Path:
    """The file that stands for the right to make `path`."""
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes that would make `path` waiting, or waits for one; a process that dies gives it back."""
    from seadlif_jax.utils.locking import lock  # here: processes that only read do without JAX

    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(lock_file(path), lambda: print(f"waiting for another process that is making {path}", flush=True)):
        yield
