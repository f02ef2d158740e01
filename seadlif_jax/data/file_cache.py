"""What loaders make of files, kept in the folder `config.data.cache_dir`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seadlif_jax.data.dataset import DataError
from seadlif_jax.utils.cache import cached


def cached_from_files(cache: Path, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Return the folder of the entry for `key`, as `utils.cache.cached`.

    Raises:
      DataError: the cache cannot be written. Errors of `make` are passed on.
    """
    try:
        return cached(cache, name, key, make)
    except OSError as error:
        raise DataError(
            f"cannot write to the cache {cache} ({error.strerror or error}); free space there, or choose another "
            "folder with --config.data.cache_dir"
        ) from error


def file_identity(path: Path) -> dict[str, Any]:
    """Return values that change whenever the file does; a copy can keep the time of modification, not of change."""
    status = path.stat()
    return {
        "file": str(path.resolve()),
        "size": status.st_size,
        "modified": status.st_mtime_ns,
        "changed": status.st_ctime_ns,
    }
