"""The kernel's shared library, made by the C++ compiler of the machine at the first use, in the user's cache folder."""

import ctypes
import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import jax
import jaxlib

from seadlif_jax.utils.cache import cached
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.paths import compiled_folder

SOURCE = Path(__file__).parent / "source" / "network.cc"
LIBRARY = "network.so"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread")
# For the machine's processor; the second where a compiler does not know the first.
TUNINGS = ("-march=native", "-mcpu=native")


class NativeError(SeadlifError):
    """The native engine cannot be used: the message says what is missing."""


@functools.cache
def load_library(real: str) -> ctypes.CDLL:
    """Return the library for states of type `real`, "float" or "double"; compile it if the cache does not have it.

    The cache's key is all that the library depends on: source, compiler and JAX's headers. The folder is the
    processor's.

    Raises:
      NativeError: there is no C++ compiler, or it fails.
    """
    compiler = _find_compiler()
    command = (*compiler, *FLAGS, f"-DREAL={real}", "-isystem", jax.ffi.include_dir(), str(SOURCE))
    key = {
        "command": command,
        "compiler": _run(compiler, "--version").stdout,
        "jaxlib": jaxlib.__version__,
        "source": {path.name: zlib.crc32(path.read_bytes()) for path in SOURCE.parent.glob("*.[hc]*")},
    }
    folder = compiled_folder()
    try:
        if folder is None:
            raise OSError("this user has no home folder")
        return _load(folder, real, key)
    except OSError as error:
        print(
            "warning: the native kernel is compiled in every process anew, since it cannot be kept in, or loaded "
            f"from, {folder or 'a cache'} ({error.strerror or error}); set XDG_CACHE_HOME to another folder",
            file=sys.stderr,
            flush=True,
        )
    try:
        with tempfile.TemporaryDirectory() as temporary:
            return _load(Path(temporary), real, key)
    except OSError as error:  # such as a folder of which no programs may be run
        raise NativeError(f"cannot load the native kernel ({error}); set TMPDIR to another folder") from error


def _load(folder: Path, real: str, key: dict) -> ctypes.CDLL:
    def compile_into(entry: Path) -> None:
        print("compiling the native kernel, once on this machine ...", file=sys.stderr, flush=True)
        _compile(key["command"], entry / LIBRARY)

    return ctypes.CDLL(str(cached(folder, f"network-{real}", key, compile_into) / LIBRARY))


def _compile(command: tuple[str, ...], library: Path) -> None:
    for tuning in TUNINGS:
        done = _run(command, tuning, "-o", str(library))
        if tuning not in done.stderr:
            break
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error:" in line] or done.stderr.splitlines() or ["?"]
        raise NativeError(f"{command[0]} cannot compile {SOURCE}: {lines[0]}; name another compiler in CXX")


def _find_compiler() -> list[str]:
    """Return the words of the compiler's command, such as those of `ccache g++`."""
    named = shlex.split(os.getenv("CXX", ""))
    for words in [named] if named else [[name] for name in COMPILERS]:
        if path := shutil.which(words[0]):
            return [path, *words[1:]]
    if named:
        raise NativeError(f"CXX={named[0]}: there is no such C++ compiler; correct or unset it")
    raise NativeError(f"there is no C++ compiler ({', '.join(COMPILERS)}); install one, or name it in CXX")


def _run(command: list[str] | tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a compiler, with messages in English."""
    try:
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            env=os.environ | {"LC_ALL": "C"},
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise NativeError(f"cannot run {command[0]} ({error.strerror}); name another C++ compiler in CXX") from error
