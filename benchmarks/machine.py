"""Description of the machine, and the memory of processes (on Linux)."""

import contextlib
import os
import platform
import re
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Return CPU, number of cores and operating system."""
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "system": platform.system(), "machine": platform.machine()}


def cpu_model() -> str:
    with contextlib.suppress(OSError):
        match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if match:
            return match[1]
    return platform.processor() or "unknown"


def load() -> float:
    """Return the mean number of running processes in the last minute."""
    return os.getloadavg()[0]


def resident_mib(process: int | str = "self") -> float:
    """Return the resident memory of this process, or of the process with an id."""
    return _status("VmRSS", process)


def peak_mib() -> float:
    """Return the peak memory of this process, or its peak since `forget_peak`.

    `ru_maxrss` would be wrong: a process inherits the value of its parent.
    """
    return _status("VmHWM")


def forget_peak() -> None:
    """Reset the peak. If the system refuses, `peak_mib` remains an upper bound."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str, process: int | str = "self") -> float:
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024
