"""Fetching a file of a public data set with tonic, which is imported only then."""

import contextlib
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from data.dataset import DataError

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
    print(f"there is no {path}: fetching it from {url}", flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _timeout():
            download_url(url, str(path.parent), filename=archive.name, md5=getattr(source, f"{split}_md5"))
        # Extracted elsewhere and then renamed: a process that is killed leaves no half of a file.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder, zipfile.ZipFile(archive) as content:
            Path(content.extract(path.name, folder)).rename(path)
    except (OSError, RuntimeError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"there is no {path}, and it could not be downloaded ({error}). Get {url} in another way and put the "
            f"{path.name} in it into {path.parent}, or set --config.data.dir to the folder that has it"
        ) from error


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
