"""Files that are never half written, tables, and what a file says about its origin."""

import csv
import datetime
import importlib.metadata
import io
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

PACKAGES = ("seadlif-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            flush_to_disk(file)
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # an error of a write does not name the file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def flush_to_disk(file: TextIO) -> None:
    """Return when a file's content would survive the machine losing power."""
    file.flush()
    os.fsync(file.fileno())


def write_table(path: Path, columns: Mapping[str, Iterable[Any]]) -> None:
    """Write columns of equal length as a CSV file; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_atomically(path, text.getvalue())


def timestamp() -> str:
    """Return the time now, in UTC; later times are greater as text."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    by_package = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            by_package[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            by_package[package] = "not installed"
    return by_package
