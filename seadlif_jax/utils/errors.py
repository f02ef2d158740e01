"""The base class of the library's errors, and the message for a package that is not installed."""

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


class SeadlifError(ValueError):
    """An error that the user can correct: the message names the field, file or option, and the remedy.

    Every error that the library raises on purpose derives from it; the commands print its message in one line.

    Example:
      >>> from seadlif_jax.config import ConfigError
      >>> issubclass(ConfigError, SeadlifError)
      True
    """


class MissingPackageError(SeadlifError, ImportError):
    """A package of one of the extras is not installed."""


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
