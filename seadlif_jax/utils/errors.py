"""The base class of the library's errors, and what errors of others mean."""

import errno
import os
import re

# Top-level modules that are not among the library's dependencies, and the extra that installs each.
EXTRAS = {
    "absl": "train",
    "flatbuffers": "train",
    "ml_collections": "train",
    "orbax": "train",
    "tqdm": "train",
    "matplotlib": "plots",
    "h5py": "data",
    "scipy": "data",
    "tonic": "data",
    "tensorboardX": "tensorboard",
}
# Packages whose name differs from that of their module.
PACKAGES = {"absl": "absl-py", "ml_collections": "ml-collections", "orbax": "orbax-checkpoint"}
# These say that the file is missing, or not what it should be.
FILE_ERRORS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})
STATUSES = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED")  # TensorStore's


class SeadlifError(ValueError):
    """An error that the user can correct: the message names the field, file or option, and the remedy.

    Every error that the library raises on purpose derives from it; the commands print its message in one line.

    Example:
      >>> from seadlif_jax.config import ConfigError
      >>> issubclass(ConfigError, SeadlifError)
      True
    """


class InputError(SeadlifError):
    """Arrays or arguments that a function cannot take; the message says what they must be."""


class MissingPackageError(SeadlifError, ImportError):
    """A package of one of the extras is not installed."""


def with_type(error: BaseException) -> str:
    """Return the type and the message of an error in one line, for errors of code that is not this library's.

    Example:
      >>> with_type(KeyError("tau"))
      "KeyError: 'tau'"
    """
    return " ".join(f"{type(error).__name__}: {error}".split())


def missing_package(error: ImportError) -> MissingPackageError | None:
    """Return the error to raise in place of a failed import, or None if no extra has the module.

    Example:
      >>> str(missing_package(ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")))
      "matplotlib is not installed; pip install 'seadlif-jax[plots]'"
    """
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module not in EXTRAS:
        return None
    return MissingPackageError(
        f"{PACKAGES.get(module, module)} is not installed; pip install 'seadlif-jax[{EXTRAS[module]}]'"
    )


def storage_error(error: BaseException) -> str | None:
    """Return the reason if an error is the storage's (a failed disk, a stale handle, too many open files), else None.

    Such an error says nothing about the content of the file.

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
