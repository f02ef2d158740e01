import json
import os

import pytest

from seadlif_jax.config import to_json
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.files import write_atomically, write_table
from seadlif_jax.runs.folder import RunFolder, read_config


def test_a_run_is_found_again_with_the_same_config(tmp_path, tiny_config):
    run = RunFolder(tmp_path / "new" / "run", tiny_config)
    assert not run.path.exists()  # nothing is made before it is needed
    with run.lock():
        result = run.finish(test={"accuracy": 0.5}, protocol="none", best_epoch=1)
    assert RunFolder(run.path, tiny_config).result() == json.loads((run.path / "result.json").read_text()) == result


def test_data_may_move_between_sessions(tmp_path, tiny_config):
    with RunFolder(tmp_path, tiny_config).lock():
        pass
    tiny_config.data.dir = "elsewhere"
    RunFolder(tmp_path, tiny_config)


def test_the_run_of_another_config_is_refused_and_left_alone(tmp_path, tiny_config):
    with RunFolder(tmp_path, tiny_config).lock():
        pass
    before = (tmp_path / "config.json").read_bytes()
    tiny_config.model.hidden = (9, 9)
    with pytest.raises(RunError, match=r"another config \(config.model.hidden: \[8\] -> \[9, 9\]\); choose another"):
        RunFolder(tmp_path, tiny_config)
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize("name", ["metrics.csv", "result.json", "checkpoints", "curves.png", "thesis.tex"])
def test_a_folder_with_files_of_unknown_origin_is_refused(tmp_path, tiny_config, name):
    (tmp_path / name).touch()
    with pytest.raises(RunError, match=f"holds {name} but no config.json"):
        RunFolder(tmp_path, tiny_config)


def test_a_folder_in_use_is_refused_until_it_is_let_go(tmp_path, tiny_config):
    first, second = (RunFolder(tmp_path, tiny_config) for _ in range(2))
    with first.lock(), pytest.raises(RunError, match="in use by another process"), second.lock():
        pass
    with RunFolder(tmp_path, tiny_config).lock():
        pass


def test_a_config_is_written_once(tmp_path, tiny_config):
    with RunFolder(tmp_path, tiny_config).lock():
        before = (tmp_path / "config.json").read_bytes()
    tiny_config.data.dir = "elsewhere"
    with RunFolder(tmp_path, tiny_config).lock():
        assert (tmp_path / "config.json").read_bytes() == before


def test_a_file_is_no_folder(tmp_path, tiny_config):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is a file; choose a folder"):
        RunFolder(tmp_path / "file", tiny_config)


@pytest.mark.parametrize("content", ['{"seed": ', "[]", "3"])
def test_a_damaged_config_is_refused(tmp_path, tiny_config, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config.json is damaged"):
        RunFolder(tmp_path, tiny_config)


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_damaged_result_is_refused(tmp_path, tiny_config, content):
    (tmp_path / "result.json").write_text(content)
    (tmp_path / "config.json").write_text(to_json(tiny_config))
    with pytest.raises(RunError, match=r"result.json is damaged"):
        RunFolder(tmp_path, tiny_config).result()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, tiny_config):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write to"):
        RunFolder(tmp_path / "file" / "below", tiny_config).lock().__enter__()


def test_writing_replaces_the_whole_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_atomically(path, "long old text")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_mark_that_an_editor_puts_in_front_of_the_config_is_no_damage(tmp_path, tiny_config, encoding):
    run = RunFolder(tmp_path / "run", tiny_config)
    with run.lock():
        pass
    path = run.path / "config.json"
    path.write_text(path.read_text(), encoding=encoding)
    assert read_config(run.path).seed == tiny_config.seed


def test_an_error_of_a_write_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*table.csv"):
        write_table(tmp_path / "table.csv", {"a": [1]})


def test_the_run_of_an_older_version_is_refused_in_one_line(tmp_path, tiny_config):
    fields = json.loads(to_json(tiny_config))
    del fields["task"]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    for use in (lambda: RunFolder(tmp_path, tiny_config), lambda: read_config(tmp_path)):
        with pytest.raises(RunError, match="a run of an older version of this library, which this one cannot read"):
            use()
