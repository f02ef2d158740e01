"""Fetching a file of a public data set with tonic, which is imported only then."""

import contextlib
import http.client
import shutil
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.lock import lock_file, locked

TIMEOUT = 30  # seconds without an answer


def download(path: Path, dataset: str, split: str) -> None:
    """Downloads the archive of a split ("train", "valid", "test") beside `path`, verifies it, and extracts `path`.

    The archive stays there; one that is there already is not downloaded again.

    Raises:
      DataError: there is no network, the archive is not the one expected, or the folder cannot be written to.
    """
    try:
        import tonic.datasets
        from tonic.download_utils import download_url
    except ImportError as error:
        raise DataError(f"there is no {path}; to download it, install tonic ({error})") from error

    source = getattr(tonic.datasets, dataset)
    archive = path.with_name(getattr(source, f"{split}_zip"))
    url = source.base_url + archive.name
    try:
        with locked(path):
            if path.is_file():  # of another process, in the meantime
                return
            print(f"there is no {path}: fetching it from {url}", flush=True)
            with _timeout():
                download_url(url, str(path.parent), filename=archive.name, md5=getattr(source, f"{split}_md5"))
            # Extracted elsewhere and then renamed: a process that is killed leaves no half of a file.
            partial = path.with_name(f"{path.name}.partial")
            with zipfile.ZipFile(archive) as content:
                Path(content.extract(path.name, partial)).rename(path)
            shutil.rmtree(partial)
    except (OSError, RuntimeError, KeyError, http.client.HTTPException, zipfile.BadZipFile) as error:
        _remove_empty_folder(path)
        raise DataError(
            f"there is no {path}, and it could not be downloaded ({error}). Get {url} in another way and put the "
            f"{path.name} in it into {path.parent}, or set --config.data.dir to the folder that has it"
        ) from error


def _remove_empty_folder(path: Path) -> None:
    """Leaves nothing of a folder that was made for the download, as where `config.data.dir` is misspelt."""
    with contextlib.suppress(OSError):
        if [file.name for file in path.parent.iterdir()] == [lock_file(path).name]:
            lock_file(path).unlink()
            path.parent.rmdir()
            path.parent.parent.rmdir()


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
