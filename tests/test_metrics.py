import pytest

from seadlif_jax.runs.errors import RunError
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
    again.rewind([kept], checksums[kept])
    for row in ROWS[kept:]:
        again.append([row])
    assert again.read() == ROWS
    assert again.checksum == checksums[4]


def test_a_row_cut_off_in_writing_is_dropped(log, checksums):
    content = log.path.read_bytes()
    log.path.write_bytes(content[:-9])
    log.rewind([3], checksums[3])
    log.append([ROWS[3]])
    assert log.read() == ROWS


def test_lost_or_damaged_rows_are_noticed_and_left_alone(log, checksums):
    with pytest.raises(RunError, match=r"metrics.csv is damaged: its first 5 rows are not those of the checkpoint"):
        log.rewind([5], 1)
    content = log.path.read_text()
    damaged = content.replace("\n2,", "\n7,"), content.replace("0.1\n", "0.2\n"), content.replace("epoch,", "epcoh,")
    for text in damaged:
        assert text != content
        log.path.write_text(text)
        with pytest.raises(RunError, match="damaged"):
            log.rewind([4], checksums[4])
        assert log.path.read_text() == text
    log.path.unlink()
    with pytest.raises(RunError, match="damaged"):
        log.rewind([1], checksums[1])


def test_rows_without_their_checkpoint_are_not_thrown_away(log):
    with pytest.raises(RunError, match="has 4 rows, but there is no checkpoint"):
        log.rewind([0], None)
    assert log.read() == ROWS
    seldom_saved = MetricsLog(log.path, every_epochs=2)
    seldom_saved.rewind([0], None)
    assert not log.path.exists()


def test_a_row_that_is_cut_off_is_not_read(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,seconds\n1,0.5\n2,0.25\n3,0.1")
    assert [row["epoch"] for row in MetricsLog(path).read()] == [1, 2]
