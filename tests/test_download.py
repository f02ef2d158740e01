"""Downloads from a server of the test's own, through tonic."""

import functools
import hashlib
import http.server
import socket
import threading
import zipfile

import pytest
import tonic.datasets

from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.download import download_file
from seadlif_jax.data.recordings import read
from tests.recordings_file import write


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder with a zipped training file, served as the place where tonic finds SHD."""
    folder = tmp_path / "served"
    write(folder / "shd_train.h5")
    with zipfile.ZipFile(folder / "shd_train.h5.zip", "w") as archive:
        archive.write(folder / "shd_train.h5", "shd_train.h5")
    (folder / "shd_train.h5").unlink()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(tonic.datasets.SHD, "base_url", f"http://127.0.0.1:{server.server_port}/")
    md5 = hashlib.md5((folder / "shd_train.h5.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(tonic.datasets.SHD, "train_md5", md5)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "datasets" / "SHD" / "shd_train.h5"


def test_a_file_is_fetched_verified_and_unpacked(served, path, capsys):
    download_file(path, "SHD", "train")
    assert len(read(path).labels) == 12
    assert sorted(file.name for file in path.parent.iterdir()) == [
        ".shd_train.h5.lock",
        "shd_train.h5",
        "shd_train.h5.zip",
    ]
    assert f"there is no {path}: downloading http://127.0.0.1" in capsys.readouterr().out


def test_an_archive_that_is_there_is_not_fetched_again(served, path):
    download_file(path, "SHD", "train")
    path.unlink()
    (served / "shd_train.h5.zip").unlink()
    download_file(path, "SHD", "train")
    assert path.exists()


def test_half_an_archive_is_fetched_again(served, path):
    path.parent.mkdir(parents=True)
    content = (served / "shd_train.h5.zip").read_bytes()
    path.with_name("shd_train.h5.zip").write_bytes(content[: len(content) // 2])
    download_file(path, "SHD", "train")
    assert len(read(path).labels) == 12


def test_another_archive_than_expected_is_refused(served, path):
    (served / "shd_train.h5.zip").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"it could not be downloaded \(File not found or corrupted.\)"):
        download_file(path, "SHD", "train")
    assert not path.exists()


def test_an_archive_without_the_file_is_refused(served, path, monkeypatch):
    with zipfile.ZipFile(served / "shd_train.h5.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    md5 = hashlib.md5((served / "shd_train.h5.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(tonic.datasets.SHD, "train_md5", md5)
    with pytest.raises(DataError, match="could not be downloaded"):
        download_file(path, "SHD", "train")
    assert not path.exists()


def test_two_at_once_fetch_it_once(served, path, capsys):
    threads = [threading.Thread(target=download_file, args=(path, "SHD", "train")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(path).labels) == 12
    assert capsys.readouterr().out.count(": downloading http") == 1


def test_a_server_that_does_not_answer_is_given_up(path, monkeypatch):
    monkeypatch.setattr("seadlif_jax.data.download.TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(tonic.datasets.SHD, "base_url", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(DataError, match="timed out"):
            download_file(path, "SHD", "train")


def test_the_time_limit_of_other_connections_is_left_as_it_was(served, path):
    before = socket.getdefaulttimeout()
    download_file(path, "SHD", "train")
    assert socket.getdefaulttimeout() == before
