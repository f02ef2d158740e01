"""Reading a file for the first time, in a process of its own.

The libraries that read HDF5 and MATLAB files can crash on a damaged one, or never come to an end. Here that is noticed,
and told. What merely raises an exception is left to the reader itself, later, in the process that needs the data.
"""

import importlib
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from seadlif_jax.data.dataset import DataError

PATIENCE = 120.0  # seconds without a sign of life
# Signals from outside, which say nothing of the file; not all systems have all.
KILLED = {getattr(signal, f"SIG{name}", None) for name in ("KILL", "TERM", "INT", "HUP", "XCPU")}
THROUGH, RAISED = 0, 3  # exit statuses
ROOT = Path(__file__).parent.parent


def probe(path: Path, reader: str) -> bool:
    """Calls a reader for a file, and waits until it is through; returns whether it was without an exception.

    Args:
      path: the file.
      reader: "module:function", a generator function of the path, which yields as a sign of life.

    Raises:
      DataError: it crashed the process, or was silent for too long.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.getenv("PYTHONPATH", "")))}
    command = [sys.executable, "-m", "seadlif_jax.data.probe", reader, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        signs: queue.Queue[bytes] = queue.Queue()

        def listen() -> None:
            assert process.stdout is not None
            while sign := process.stdout.read(1):
                signs.put(sign)
            signs.put(b"")

        threading.Thread(target=listen, daemon=True).start()
        try:
            while signs.get(timeout=PATIENCE):
                pass
        except queue.Empty:
            process.kill()
            raise DataError(f"{path} is damaged: reading it does not come to an end") from None
        except BaseException:
            process.kill()
            raise
    if -process.returncode in KILLED:
        raise DataError(f"reading {path} was stopped from outside (signal {-process.returncode}: is memory short?)")
    if process.returncode not in (THROUGH, RAISED):
        raise DataError(f"{path} is damaged: reading it crashes a process (status {process.returncode})")
    return process.returncode == THROUGH


def _main(reader: str, path: str) -> None:
    module, _, function = reader.partition(":")
    read = getattr(importlib.import_module(module), function)
    try:
        for _ in read(Path(path)):
            print(end=".", flush=True)
    except Exception:  # whatever the library runs into
        sys.exit(RAISED)


if __name__ == "__main__":
    _main(*sys.argv[1:])
