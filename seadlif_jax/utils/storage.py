"""Errors of the storage below a file, which say nothing of what is in the file."""

import errno
import os
import re

# These are of the file: it is not there, or not what it should be.
OF_THE_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})


def storage_error(error: BaseException) -> str | None:
    """Return the system's words for an error of the storage (a failed disk, a stale handle, too many open files).

    None for any other error. HDF5 hides the error's number in its message.
    """
    if isinstance(error, MemoryError):
        return "out of memory"
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := re.search(r"\berrno = (\d+)", str(error))):
        number = int(match[1])
    if number == errno.EAGAIN:
        return "another program has locked it"
    return None if number is None or number in OF_THE_FILE else os.strerror(number)
