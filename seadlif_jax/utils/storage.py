"""Errors of the storage below a file, which say nothing about the content of the file."""

import errno
import os
import re

# These say that the file is missing, or not what it should be.
FILE_ERRORS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})
STATUSES = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED")  # TensorStore's


def storage_error(error: BaseException) -> str | None:
    """Return the reason if an error is the storage's (a failed disk, a stale handle, too many open files), else None.

    HDF5 and TensorStore raise errors of their own, with the system's error number or a status in the message.
    """
    if isinstance(error, MemoryError):
        return "out of memory"
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := re.search(r"\b(?:errno = |OS error )(\d+)", str(error))):
        number = int(match[1])
    if number == errno.EAGAIN:
        return "another program has locked it"
    if number is not None:
        return None if number in FILE_ERRORS else os.strerror(number)
    message = str(error).partition("\n")[0].partition(" [tensorstore_spec")[0]
    status = next((status for status in STATUSES if status in message), None)
    return status and status.lower().replace("_", " ")
