import errno

import pytest

from seadlif_jax.utils.errors import storage_error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "failed"), "Input/output error"),
        (OSError(errno.ESTALE, "stale"), "Stale file handle"),
        (OSError(errno.EMFILE, "many"), "Too many open files"),
        (OSError(errno.EAGAIN, "busy"), "another program has locked it"),
        (OSError(f"Unable to open file (file read failed: time = 1, errno = {errno.EIO})"), "Input/output error"),
        (ValueError(f"Error opening file: OS error {errno.EIO}: Input/output error"), "Input/output error"),
        (ValueError("PERMISSION_DENIED: cannot open [tensorstore_spec='{}']"), "permission denied"),
        (ValueError("RESOURCE_EXHAUSTED: no descriptors"), "resource exhausted"),
        (MemoryError(), "out of memory"),
    ],
)
def test_an_error_of_the_storage_has_a_reason(error, reason):
    assert storage_error(error) == reason


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "missing"),
        IsADirectoryError(errno.EISDIR, "folder"),
        OSError("Unable to open file (truncated file)"),
        ValueError(f"OS error {errno.ENOENT}: no such file"),
        ValueError("DATA_LOSS: checksum mismatch\nPERMISSION_DENIED is in another line"),
    ],
)
def test_an_error_of_the_file_has_none(error):
    assert storage_error(error) is None
