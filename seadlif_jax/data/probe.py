"""Reading a file for the first time, in a process of its own.

The libraries that read HDF5 and MATLAB files can crash on a damaged one, or never return. Here that is noticed and
reported. What merely raises an exception is left to the reader itself, later, in the process that needs the data.
"""

import importlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from seadlif_jax.data.dataset import DataError
from seadlif_jax.utils.modules import import_from, module_folder

TIMEOUT = 120.0  # seconds without a sign of life
# Signals from outside, which say nothing about the file; not all systems have all.
KILLED = {getattr(signal, f"SIG{name}", None) for name in ("KILL", "TERM", "INT", "HUP", "XCPU")}
FINISHED, RAISED = 0, 3  # exit statuses
# The child finds modules where this process does.
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from seadlif_jax.data import probe; probe.main()"


def probe_file(path: Path, reader: Callable[[Path], Iterable[Any]]) -> bool:
    """Call a reader for a file in a child process; return whether it finished without an exception.

    Args:
      path: the file.
      reader: a function of a module, from the path to an iterator; each item is a sign of life.

    Raises:
      DataError: the reader crashed the process, or was silent for too long.
    """
    folder = module_folder(sys.modules[reader.__module__])
    arguments = (json.dumps(sys.path), str(folder or ""), reader.__module__, reader.__qualname__, str(path))
    command = [sys.executable, "-c", CHILD, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        signs: queue.Queue[bytes] = queue.Queue()

        def listen() -> None:
            assert process.stdout is not None
            while sign := process.stdout.read(1):
                signs.put(sign)
            signs.put(b"")

        threading.Thread(target=listen, daemon=True).start()
        try:
            while signs.get(timeout=TIMEOUT):
                pass
        except queue.Empty:
            process.kill()
            raise DataError(f"{path} is damaged: reading it does not end; replace the file") from None
        except BaseException:
            process.kill()
            raise
    if -process.returncode in KILLED:
        raise DataError(
            f"reading {path} was stopped by signal {-process.returncode}, perhaps for lack of memory; try again"
        )
    if process.returncode not in (FINISHED, RAISED):
        raise DataError(
            f"{path} is damaged: reading it crashes a process (status {process.returncode}); replace the file"
        )
    return process.returncode == FINISHED


def main() -> None:
    """Run the reader that the command line of the child names."""
    folder, module_name, function, path = sys.argv[1:]
    module = import_from(Path(folder), module_name) if folder else importlib.import_module(module_name)
    try:
        for _ in getattr(module, function)(Path(path)):
            print(end=".", flush=True)
    except Exception:  # whatever the library runs into
        sys.exit(RAISED)
