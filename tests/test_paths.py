import os
from pathlib import Path

import pytest

from seadlif_jax.analysis.comparison import read_runs
from seadlif_jax.inference import load_run
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.utils.paths import MAX_BYTES, PathError, check_checkpoint_path, local_path, workdir_path


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://b/r", "file:///tmp/x", "hdfs://h/x", "az+blob://x"])
def test_an_address_is_refused_before_anything_is_written(address, tmp_path, monkeypatch, tiny_config):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathError, match=f"--workdir {address[:2]}.*must be a folder or file of this machine"):
        RunFolder(address, tiny_config)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\\b", "a**", "gs:/b", "a\nb", "a\rb", b"\xff".decode("utf8", "surrogateescape")])
def test_a_name_that_checkpoints_cannot_have_is_refused(name, tmp_path, tiny_config):
    with pytest.raises(PathError, match="choose another folder") as refusal:
        RunFolder(tmp_path / name, tiny_config)
    assert "\n" not in str(refusal.value)
    str(refusal.value).encode()


def test_a_path_too_long_for_the_files_below_it_is_refused(tmp_path):
    deep = tmp_path.joinpath(*["n" * 200] * (MAX_BYTES // 200))
    with pytest.raises(PathError, match="bytes; choose a path of at most"):
        local_path(deep, "--workdir")
    local_path(Path(*deep.parts[:-2]), "--workdir")


def test_relative_dotted_and_linked_paths_are_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    paths = ("real", "./real", "new/../real", "link", tmp_path / "link", f"{tmp_path}//real/")
    assert {local_path(path, "--workdir") for path in paths} == {tmp_path.resolve() / "real"}


def test_a_home_that_nobody_knows_is_named(monkeypatch):
    with pytest.raises(PathError, match=r"--workdir ~nobody-of-that-name/x: .*give an absolute path"):
        local_path("~nobody-of-that-name/x", "--workdir")


@pytest.mark.parametrize("name", ["a [b]", "x{y}", "a*?", "100 %", "#:,'\"", " -lead ", "ünï", "gs:x"])
def test_other_names_are_taken_as_they_are(name, tmp_path):
    path = local_path(tmp_path / name, "--workdir")
    check_checkpoint_path(path, "--workdir")
    assert os.fspath(path) == os.path.join(tmp_path.resolve(), name)


@pytest.mark.parametrize("path", ["/gs/run", "/s3/run", "/az", "/home/gs:/run", "/home/hf:"])
def test_a_folder_that_orbax_takes_for_a_url_is_refused(path):
    with pytest.raises(PathError, match="for a URL; choose another folder"):
        check_checkpoint_path(Path(path), "--workdir")


def test_a_folder_that_is_merely_named_like_an_address_is_taken(tmp_path):
    check_checkpoint_path(tmp_path / "gs" / "s3", "--workdir")


def test_a_run_in_a_folder_that_checkpoints_cannot_have_is_refused_not_called_damaged(tmp_path, finished_run):
    moved = tmp_path / "a\\b"
    moved.symlink_to(finished_run)  # resolved: the real name counts
    assert load_run(moved).num_channels == 10
    with pytest.raises(PathError, match="checkpoints cannot be saved below a folder with a backslash"):
        load_run(tmp_path / "c\\d")


def test_a_comparison_skips_a_folder_of_such_a_name(tmp_path, finished_run):
    (tmp_path / "a\\b").mkdir()
    (tmp_path / "a\\b" / "config.json").write_text((finished_run / "config.json").read_text())
    reasons = []
    assert len(read_runs([tmp_path / "a\\b", finished_run], reasons.append)) == 1
    assert "a\\\\b" in reasons[0]
    with pytest.raises(RunError, match="none of these folders"):
        read_runs([tmp_path / "a\\b"])


def test_a_workdir_is_checked_for_both(tmp_path):
    assert workdir_path(tmp_path / "x" / ".." / "run") == tmp_path.resolve() / "run"
    for path in ("gs://bucket/run", tmp_path / "a**"):
        with pytest.raises(PathError, match="--workdir"):
            workdir_path(path)
