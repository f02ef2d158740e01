"""A folder of files that are expensive to make, each made once.

An entry is a folder with a name of its own for every key. It appears whole or not at all: it is written under another
name and then renamed, one process at a time, so that two runs may start at once, and one may be killed half-way. What
is read is compared with checksums taken when it was written; a damaged entry is made anew.
"""

import glob
import hashlib
import json
import shutil
import uuid
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.lock import locked

MANIFEST = "manifest.json"  # key, and checksum of every file


def cached(cache: Path, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder of the entry for `key`, in which `make(folder)` has written its files.

    Args:
      cache: folder of all entries, made if need be.
      name: the beginning of the entry's name, for people who look into the cache.
      key: all that the content depends on, as JSON has it.
      make: writes the content; called only if the entry is not there.

    Raises:
      DataError: the cache cannot be written to (and what `make` raises).
    """
    entry = cache / f"{name}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}"
    if _is_whole(entry):
        return entry
    try:
        with locked(entry):
            # Another process may have made it in the meantime.
            if not _is_whole(entry):
                _make(entry, key, make)
    except OSError as error:
        raise DataError(
            f"cannot write to the cache {cache} ({error.strerror or error}); make room there, or choose another folder "
            "by --config.data.cache_dir"
        ) from error
    return entry


def _make(entry: Path, key: Mapping[str, Any], make: Callable[[Path], None]) -> None:
    # A damaged one, and what processes left that were killed.
    for old in (entry, *entry.parent.glob(f"{glob.escape(entry.name)}.partial-*")):
        shutil.rmtree(old, ignore_errors=True)
    # A name of its own: the cache may be deleted, lock and all, while a process is writing to it.
    partial = entry.with_name(f"{entry.name}.partial-{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        make(partial)
        manifest = {"key": key, "checksums": _checksums(partial)}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2))
        partial.rename(entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_whole(entry: Path) -> bool:
    try:
        checksums = json.loads((entry / MANIFEST).read_text())["checksums"]
        return bool(checksums) and all(_checksum(entry / name) == checksum for name, checksum in checksums.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _checksums(folder: Path) -> dict[str, int]:
    return {file.name: _checksum(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}


def _checksum(file: Path) -> int:
    checksum = 0
    with file.open("rb") as content:
        while block := content.read(2**22):
            checksum = zlib.crc32(block, checksum)
    return checksum
