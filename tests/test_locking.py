import errno
import subprocess
import sys

import pytest

from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.utils import locking
from seadlif_jax.utils.cache import locked
from seadlif_jax.utils.locking import lock


def refuse():
    raise RunError("taken")


@pytest.fixture(autouse=True)
def _no_warning_yet(monkeypatch):
    monkeypatch.setattr(locking, "_warned", set())


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_work_goes_on_with_one_warning(
    code, tmp_path, tiny_config, monkeypatch, capsys
):
    def flock(*_):
        raise OSError(code, "not here")

    monkeypatch.setattr(locking.fcntl, "flock", flock)
    with RunFolder(tmp_path / "run", tiny_config).lock(), locked(tmp_path / "run" / "entry"):
        (tmp_path / "run" / "entry").touch()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: files in {tmp_path / 'run'} cannot be locked (not here)")


def test_where_the_system_has_no_locks_work_goes_on_with_one_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locking, "fcntl", None)
    with lock(tmp_path / "a", refuse), lock(tmp_path / "b", refuse):
        pass
    assert capsys.readouterr().err.count("cannot be locked (this system has no flock)") == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_other_errors_of_a_lock_are_errors(code, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(code, "broken")

    monkeypatch.setattr(locking.fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"), lock(tmp_path / "a", refuse):
        pass


def test_a_lock_is_held_against_another_process_and_released(tmp_path):
    code = f"""
import fcntl
try:
    fcntl.flock(open({str(tmp_path / "a")!r}), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    raise SystemExit(3)
"""
    with lock(tmp_path / "a", refuse):
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_library_imports_on_a_system_without_flock():
    code = "import sys; sys.modules['fcntl'] = None; import seadlif_jax, seadlif_jax.utils.cache"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
