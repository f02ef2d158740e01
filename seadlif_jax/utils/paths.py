"""Folders and files that users name, as absolute paths of this machine; and the cache folder."""

import contextlib
import os
import platform
import re
import zlib
from pathlib import Path

from seadlif_jax.utils.errors import SeadlifError

MAX_BYTES = 3_800  # Linux allows 4,096 for a path: the rest is for files below the folder
BUCKETS = frozenset({"gs", "s3", "az", "hf"})
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class PathError(SeadlifError):
    """A path that cannot be used: the message names the option that gave it, and the remedy."""


def local_path(path: str | Path, option: str) -> Path:
    """Return the absolute path without `~`, `..` and symbolic links.

    Args:
      path: absolute, or relative to the current folder.
      option: the option or field that gave the path, such as "--workdir", for the error.

    Raises:
      PathError: the path is a URL (`gs://...`), has no home folder for its `~`, or is too long.

    Example:
      >>> local_path("gs://bucket/run", "--workdir")
      Traceback (most recent call last):
      seadlif_jax.utils.paths.PathError: --workdir gs://bucket/run: it must be a folder or file of this \
machine; mount the storage as a folder, or copy the files
    """
    text = os.fspath(path)
    if URL.match(text):
        raise PathError(
            f"{option} {text}: it must be a folder or file of this machine; mount the storage as a folder, or copy the "
            "files"
        )
    try:
        absolute = Path(text).expanduser().resolve()
    except RuntimeError as error:  # no home folder, or a loop of symbolic links
        raise PathError(f"{option} {text}: {error}; give an absolute path") from error
    except (OSError, ValueError) as error:
        raise PathError(f"{option} {_shortened(text)}: {error}; choose another path") from error
    length = len(os.fsencode(absolute))
    if length > MAX_BYTES:
        raise PathError(f"{option} {_shortened(text)}: {length:,} bytes; choose a path of at most {MAX_BYTES:,}")
    return absolute


def workdir_path(path: str | Path) -> Path:
    """Return the absolute path of a run's folder; raise a `PathError` if checkpoints cannot be saved in it, too."""
    absolute = local_path(path, "--workdir")
    check_checkpoint_path(absolute, "--workdir")
    return absolute


def check_checkpoint_path(path: Path, option: str) -> None:
    """Check that orbax can write to a path.

    Raises:
      PathError: the path has a backslash, `**`, a line break, bytes that are not UTF-8, or a name like `gs:`.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PathError(f"{option} {text!a}: its name is not UTF-8; choose another folder") from error
    # Orbax takes `gs:` anywhere, and /gs at the root, for the start of a URL.
    buckets = {f"{name}:" for name in BUCKETS}.intersection(path.parts) | BUCKETS.intersection(path.parts[1:2])
    if buckets:
        raise PathError(f"{option} {text!a}: orbax takes the folder {buckets.pop()} for a URL; choose another folder")
    if any(part in text for part in ("\\", "**", "\n", "\r")):
        raise PathError(
            f"{option} {text!a}: checkpoints cannot be saved below a folder with a backslash, ** or a line "
            "break in its name; choose another folder"
        )


def cache_folder() -> Path | None:
    """Return the folder for files that may be deleted at any time; None for a user without a home."""
    with contextlib.suppress(RuntimeError):
        return Path(os.getenv("XDG_CACHE_HOME") or Path.home() / ".cache") / "seadlif-jax"
    return None


def compiled_folder() -> Path | None:
    """Return the cache's folder for compiled programs.

    Every kind of processor has its own, for homes that several machines share.
    """
    folder = cache_folder()
    return folder and folder / "compiled" / _processor()


def _processor() -> str:
    """Return the machine's type, with a checksum of its processor's features where the system lists them."""
    with contextlib.suppress(OSError):
        features = re.search(r"^(flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if features:
            return f"{platform.machine()}-{zlib.crc32(features[0].encode()):08x}"
    return platform.machine()


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}...{text[-15:]}"
