import errno
import json
import shutil
import threading
import time

import pytest

from seadlif_jax.utils.cache import MANIFEST, cached

KEY = {"file": "a", "bin_ms": 4}


class Maker:
    """Writes one file, and counts how often."""

    def __init__(self, content=b"frames"):
        self.content = content
        self.calls = 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "counts.npy").write_bytes(self.content)


def test_an_entry_is_made_once(tmp_path):
    make = Maker()
    entry = cached(tmp_path / "cache", "train", KEY, make)
    assert (entry / "counts.npy").read_bytes() == b"frames"
    assert json.loads((entry / MANIFEST).read_text())["key"] == KEY
    assert cached(tmp_path / "cache", "train", dict(reversed(KEY.items())), make) == entry
    assert make.calls == 1


def test_another_key_is_another_entry(tmp_path):
    entries = {cached(tmp_path, "train", KEY | {"bin_ms": bin_ms}, Maker(bytes([bin_ms]))) for bin_ms in (1, 2, 3)}
    assert sorted((entry / "counts.npy").read_bytes() for entry in entries) == [b"\1", b"\2", b"\3"]


def flip_a_bit(entry):
    content = bytearray((entry / "counts.npy").read_bytes())
    content[3] ^= 1
    (entry / "counts.npy").write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda entry: (entry / "counts.npy").write_bytes(b"fra"),
        lambda entry: (entry / "counts.npy").unlink(),
        lambda entry: (entry / MANIFEST).unlink(),
        lambda entry: (entry / MANIFEST).write_text('{"key": '),
        lambda entry: (entry / MANIFEST).write_text("[]"),
        lambda entry: (entry / MANIFEST).write_text('{"checksums": {}}'),
    ],
)
def test_a_damaged_entry_is_replaced(tmp_path, damage):
    make = Maker()
    entry = cached(tmp_path, "train", KEY, make)
    damage(entry)
    cached(tmp_path, "train", KEY, make)
    assert make.calls == 2
    assert (entry / "counts.npy").read_bytes() == b"frames"


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path):
    def make(folder):
        (folder / "counts.npy").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        cached(tmp_path, "train", KEY, make)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    cached(tmp_path, "train", KEY, Maker())


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        cached(tmp_path / "file" / "cache", "train", KEY, Maker())


def test_what_a_killed_process_left_is_removed(tmp_path):
    entry = cached(tmp_path, "train", KEY, Maker())
    entry.rename(entry.with_name(f"{entry.name}.partial-0"))
    cached(tmp_path, "train", KEY, Maker())
    assert sorted(path.name for path in entry.iterdir()) == ["counts.npy", MANIFEST]
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [entry]


def test_the_cache_may_be_deleted_while_it_is_written(tmp_path):
    """The one that was writing fails, and what another one has made in the meantime is whole."""

    def interrupted(folder):
        shutil.rmtree(tmp_path)
        cached(tmp_path, "train", KEY, Maker())
        Maker(b"other")(folder)

    with pytest.raises(OSError, match="No such file"):
        cached(tmp_path, "train", KEY, interrupted)
    make = Maker()
    assert (cached(tmp_path, "train", KEY, make) / "counts.npy").read_bytes() == b"frames"
    assert make.calls == 0


def test_two_that_start_at_once_make_it_once(tmp_path, capsys):
    make = Maker()

    def slowly(folder):
        time.sleep(0.5)
        make(folder)

    threads = [threading.Thread(target=cached, args=(tmp_path, "train", KEY, slowly)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.calls == 1
    assert "waiting for another process" in capsys.readouterr().out


def test_a_foreign_file_in_an_entry_is_ignored(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "counts").write_text("1")

    entry = cached(tmp_path, "name", {}, make)
    (entry / ".DS_Store").touch()
    assert cached(tmp_path, "name", {}, make) == entry
    assert len(made) == 1
