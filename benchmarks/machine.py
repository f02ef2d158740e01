"""The machine that numbers were taken on, and the memory of this process. The memory is Linux's to tell."""

import contextlib
import os
import platform
import re
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """CPU, cores and system."""
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "system": platform.system(), "machine": platform.machine()}


def cpu_model() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or "unknown"


def load() -> float:
    """The mean number of running processes in the last minute."""
    return os.getloadavg()[0]


def resident_mib(process: int | str = "self") -> float:
    """The memory that a process holds now: this one, or that of a number."""
    return _status("VmRSS", process)


def peak_mib() -> float:
    """The largest memory this process held so far, or since `forget_peak`.

    Not `ru_maxrss`, which a process starts with at the size of the one that started it.
    """
    return _status("VmHWM")


def forget_peak() -> None:
    """Starts `peak_mib` anew. Where the system refuses, it stays an upper bound."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str, process: int | str = "self") -> float:
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024
