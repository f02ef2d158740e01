"""Downloading a file of a public data set with tonic, which is imported only then."""

import contextlib
import http.client
import shutil
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

from seadlif_jax.data.dataset import DataError
from seadlif_jax.utils.cache import lock_file, locked
from seadlif_jax.utils.errors import missing_package

TIMEOUT = 30  # seconds without an answer


def download_file(path: Path, dataset: str, split: str) -> None:
    """Download the archive of a split ("train", "valid", "test") beside `path`, verify it, and extract `path`.

    The archive is kept; one that is already there is not downloaded again.

    Raises:
      DataError: there is no network, the archive is not the one expected, or the folder cannot be written to.
    """
    try:
        import tonic.datasets
        from tonic.download_utils import download_url
    except ImportError as error:
        raise DataError(f"there is no {path}, and to download it, {missing_package(error) or error}") from error

    source = getattr(tonic.datasets, dataset)
    archive = path.with_name(getattr(source, f"{split}_zip"))
    url = source.base_url + archive.name
    try:
        with locked(path):
            if path.is_file():  # another process has downloaded it in the meantime
                return
            print(f"there is no {path}: downloading {url}", flush=True)
            with _timeout():
                download_url(url, str(path.parent), filename=archive.name, md5=getattr(source, f"{split}_md5"))
            # Extracted elsewhere and then renamed: a killed process leaves no partial file.
            partial = path.with_name(f"{path.name}.partial")
            with zipfile.ZipFile(archive) as content:
                Path(content.extract(path.name, partial)).rename(path)
            shutil.rmtree(partial)
    except (OSError, RuntimeError, KeyError, http.client.HTTPException, zipfile.BadZipFile) as error:
        _remove_empty_folder(path)
        raise DataError(
            f"there is no {path}, and it could not be downloaded ({error}). Download {url} by other means and extract "
            f"{path.name} to {path.parent}, or set --config.data.dir to the folder that holds it"
        ) from error


def _remove_empty_folder(path: Path) -> None:
    """Remove a folder that was made for a failed download, as where `config.data.dir` is misspelt."""
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
