"""What a process may use, and what it must not do."""

import os

_process_id: int | None = None  # of the process that has used JAX


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_fork() -> None:
    """Raise a `RuntimeError` in a fork of a process that has called this function before.

    Forks of a process that has used JAX hang: its threads are missing in them, and JAX would wait for these.
    """
    global _process_id
    _process_id = _process_id or os.getpid()
    if _process_id != os.getpid():
        raise RuntimeError(
            "this process is a fork of one that has used JAX, and would hang; start workers by "
            "multiprocessing.get_context('spawn')"
        )
