"""The kernel's shared library, made by the C++ compiler of the machine at the first use, in the user's cache folder."""

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jaxlib

from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.locking import lock
from seadlif_jax.utils.paths import compiled_folder

SOURCE = Path(__file__).with_name("layer.cc")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared")


class NativeError(SeadlifError):
    """The native engine cannot be used: the message says what is missing."""


@functools.cache
def load_library(real: str) -> ctypes.CDLL:
    """Return the library for states of type `real`, "float" or "double"; compile it if the cache does not have it.

    The cache's key is all that the library depends on: source, compiler, JAX's headers, and processor.

    Raises:
      NativeError: there is no C++ compiler, or it fails.
    """
    command = (_find_compiler(), *FLAGS, f"-DREAL={real}", "-isystem", jax.ffi.include_dir(), str(SOURCE))
    depends_on = (command, SOURCE.read_bytes(), _version(command[0]), jaxlib.__version__)
    key = hashlib.sha256(repr(depends_on).encode()).hexdigest()[:16]
    try:
        with _writable_folder() as folder, lock(folder / f".layer-{real}.lock", lambda: None):
            library = folder / f"layer-{real}-{key}.so"
            if not _is_whole(library):
                _compile(command, library)
            return ctypes.CDLL(str(library))
    except OSError as error:  # such as a folder of which no programs may be run
        raise NativeError(f"cannot load the native kernel ({error}); set XDG_CACHE_HOME to another folder") from error


@contextlib.contextmanager
def _writable_folder() -> Iterator[Path]:
    """Give the cache's folder; if it cannot be written to, a temporary one, with a warning."""
    cache = compiled_folder()
    try:
        if cache is None:
            raise OSError("this user has no home folder")
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError as error:
        reason = error.strerror or error
        print(
            f"warning: the native kernel is compiled in every process anew: cannot write to {cache} ({reason}); set "
            "XDG_CACHE_HOME to another folder",
            file=sys.stderr,
            flush=True,
        )
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
    else:
        yield cache


def _is_whole(library: Path) -> bool:
    """Return whether the file is as it was written: to load a damaged one can crash the process."""
    try:
        return _checksum_file(library).read_text() == hashlib.sha256(library.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return False


def _checksum_file(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _compile(command: tuple[str, ...], library: Path) -> None:
    """Compile into a file that appears whole or not at all, and write its checksum."""
    print("compiling the native kernel, once on this machine ...", file=sys.stderr, flush=True)
    partial = library.with_name(f"{library.name}.partial-{os.getpid()}")
    try:
        done = subprocess.run([*command, "-o", str(partial)], capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
            raise NativeError(f"{command[0]} cannot compile {SOURCE}: {lines[0]}; name another compiler in CXX")
        checksum = hashlib.sha256(partial.read_bytes()).hexdigest()
        partial.replace(library)
        _checksum_file(library).write_text(checksum)
    except OSError as error:
        raise NativeError(f"cannot run {command[0]} ({error.strerror}); name another C++ compiler in CXX") from error
    finally:
        partial.unlink(missing_ok=True)


def _find_compiler() -> str:
    named = os.getenv("CXX")
    for name in [named] if named else COMPILERS:
        if path := shutil.which(name):
            return path
    if named:
        raise NativeError(f"CXX={named}: there is no such C++ compiler; correct or unset it")
    raise NativeError(f"there is no C++ compiler ({', '.join(COMPILERS)}); install one, or name it in CXX")


def _version(compiler: str) -> str:
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise NativeError(f"cannot run {compiler} ({error.strerror}); name another C++ compiler in CXX") from error
