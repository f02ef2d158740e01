"""The address at which the processes of a run meet: checked before JAX uses it, which aborts where it cannot."""

import contextlib
import re
import socket
from pathlib import Path

from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.locking import lock


class CoordinatorError(SeadlifError):
    """An address that the processes of a run cannot meet at: the message says why."""


_held = contextlib.ExitStack()  # until the end of the process


def reserve(address: str, process_id: int, folder: Path | None) -> None:
    """Reserve an address on this machine for one process of a run.

    A second run at the same address would join the first, and abort it.

    Args:
      address: HOST:PORT of the first process.
      process_id: the number of this process.
      folder: for the files that stand for what is reserved; None to check the address alone.

    Raises:
      CoordinatorError: it is no address; another run has reserved it; or, for the first process, its port is in use.
    """
    match = re.fullmatch(r"(?P<host>.+):(?P<port>\d{1,5})", address)
    if not match or not 0 < int(match["port"]) < 2**16:
        raise CoordinatorError(f"{address}: it must be HOST:PORT, such as localhost:1234")

    def refuse() -> None:
        raise CoordinatorError(f"{address}: process {process_id} of another run uses it; choose another port")

    if folder is not None:
        with contextlib.suppress(OSError):  # it cannot be written to: go on without
            folder.mkdir(parents=True, exist_ok=True)
            _held.enter_context(lock(folder / f"{re.sub('[^a-zA-Z0-9.-]', '_', address)}-{process_id}", refuse))
    if process_id == 0:
        _check_port(address, match["host"].strip("[]"), int(match["port"]))


def _check_port(address: str, host: str, port: int) -> None:
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a run that has just ended is none
            probe.bind(target)
    except OSError as error:
        raise CoordinatorError(
            f"{address}: the first process cannot listen there ({error.strerror}); give an address of this machine "
            "and a port that no other program uses"
        ) from error
