"""A cache of files that are expensive to make.

There is one folder, the entry, for every key. It appears whole or not at all: one process at a time writes it under
another name and then renames it, so that two runs may start at once, and one may be killed half-way. Every use compares
the files with checksums taken when they were written, and a damaged entry is replaced.
"""

import contextlib
import glob
import hashlib
import json
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from seadlif_jax.utils.locking import lock

MANIFEST = "manifest.json"  # key, and checksum of every file


def cached(cache: Path, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Return the folder of the entry for `key`, in which `make(folder)` has written its files.

    Args:
      cache: folder of all entries, created if it does not exist.
      name: prefix of the entry's name, for people who look into the cache.
      key: everything that the content depends on, as JSON values.
      make: writes the content; called only if there is no such entry, or a damaged one.

    Raises:
      OSError: the cache cannot be written to. Errors of `make` are passed on.
    """
    entry = cache / f"{name}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}"
    if _is_whole(entry):
        return entry
    with locked(entry):
        if not _is_whole(entry):  # no other process has made it in the meantime
            _make(entry, key, make)
    return entry


def lock_file(path: Path) -> Path:
    """Return the file whose lock is held by the process that makes `path`."""
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time make `path`; the others wait. The end of a process releases its lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(lock_file(path), lambda: print(f"waiting for another process that is making {path}", flush=True)):
        yield


def _make(entry: Path, key: Mapping[str, Any], make: Callable[[Path], None]) -> None:
    # A damaged entry, and what killed processes have left.
    for old in (entry, *entry.parent.glob(f"{glob.escape(entry.name)}.partial-*")):
        shutil.rmtree(old, ignore_errors=True)
    # A unique name: the cache may be deleted, its locks too, while another process is writing to it.
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
