import json
import os

import pytest

from seadlif_jax.config import to_json
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.files import write_atomically, write_table
from seadlif_jax.runs.folder import RunFolder, read_config
from seadlif_jax.runs.metrics import MetricsLog

ROWS = [{"epoch": epoch, "train_loss": 1 / (3 * epoch), "seconds": 0.1} for epoch in range(1, 5)]


@pytest.fixture
def log(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    for row in ROWS:
        log.append([row])
    return log


def test_metrics_are_read_back_to_the_last_bit(log):
    assert log.read() == ROWS
    assert log.path.read_text().startswith("epoch,train_loss,seconds\n")


@pytest.fixture
def checksums(tmp_path):
    """What a log of so many of the rows has as its checksum."""
    found = {}
    log = MetricsLog(tmp_path / "other.csv")
    for number, row in enumerate(ROWS, 1):
        log.append([row])
        found[number] = log.checksum
    return found


@pytest.mark.parametrize("kept", [2, 3, 4])
def test_rows_after_the_last_checkpoint_are_dropped(log, checksums, kept):
    again = MetricsLog(log.path)
    again.keep([kept], checksums[kept])
    for row in ROWS[kept:]:
        again.append([row])
    assert again.read() == ROWS
    assert again.checksum == checksums[4]


def test_a_row_cut_off_in_writing_is_dropped(log, checksums):
    content = log.path.read_bytes()
    log.path.write_bytes(content[:-9])
    log.keep([3], checksums[3])
    log.append([ROWS[3]])
    assert log.read() == ROWS


def test_lost_or_damaged_rows_are_noticed_and_left_alone(log, checksums):
    with pytest.raises(RunError, match=r"metrics.csv is damaged: its first 5 rows are not those of the checkpoint"):
        log.keep([5], 1)
    content = log.path.read_text()
    damaged = content.replace("\n2,", "\n7,"), content.replace("0.1\n", "0.2\n"), content.replace("epoch,", "epcoh,")
    for text in damaged:
        assert text != content
        log.path.write_text(text)
        with pytest.raises(RunError, match="damaged"):
            log.keep([4], checksums[4])
        assert log.path.read_text() == text
    log.path.unlink()
    with pytest.raises(RunError, match="damaged"):
        log.keep([1], checksums[1])


def test_rows_without_their_checkpoint_are_not_thrown_away(log):
    with pytest.raises(RunError, match="has 4 rows, but there is no checkpoint"):
        log.keep([0], None)
    assert log.read() == ROWS
    seldom_saved = MetricsLog(log.path, every_epochs=2)
    seldom_saved.keep([0], None)
    assert not log.path.exists()


def test_a_run_is_found_again_with_the_same_config(tmp_path, tiny_config):
    run = RunFolder(tmp_path / "new" / "run", tiny_config)
    assert not run.folder.exists()  # nothing is made before it is needed
    with run.held():
        result = run.finish(test={"accuracy": 0.5}, protocol="none", best_epoch=1)
    assert RunFolder(run.folder, tiny_config).result() == json.loads((run.folder / "result.json").read_text()) == result


def test_data_may_move_between_sessions(tmp_path, tiny_config):
    with RunFolder(tmp_path, tiny_config).held():
        pass
    tiny_config.data.dir = "elsewhere"
    RunFolder(tmp_path, tiny_config)


def test_the_run_of_another_config_is_refused_and_left_alone(tmp_path, tiny_config):
    with RunFolder(tmp_path, tiny_config).held():
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
    with first.held(), pytest.raises(RunError, match="in use by another process"), second.held():
        pass
    with RunFolder(tmp_path, tiny_config).held():
        pass


def test_a_config_is_written_once(tmp_path, tiny_config):
    with RunFolder(tmp_path, tiny_config).held():
        before = (tmp_path / "config.json").read_bytes()
    tiny_config.data.dir = "elsewhere"
    with RunFolder(tmp_path, tiny_config).held():
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
        RunFolder(tmp_path / "file" / "below", tiny_config).held().__enter__()


def test_writing_replaces_the_whole_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_atomically(path, "long old text")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_row_that_is_cut_off_is_not_read(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,seconds\n1,0.5\n2,0.25\n3,0.1")
    assert [row["epoch"] for row in MetricsLog(path).read()] == [1, 2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_mark_that_an_editor_puts_in_front_of_the_config_is_no_damage(tmp_path, tiny_config, encoding):
    run = RunFolder(tmp_path / "run", tiny_config)
    with run.held():
        pass
    path = run.folder / "config.json"
    path.write_text(path.read_text(), encoding=encoding)
    assert read_config(run.folder).seed == tiny_config.seed


def test_an_error_of_a_write_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*table.csv"):
        write_table(tmp_path / "table.csv", {"a": [1]})
