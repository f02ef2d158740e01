import importlib.util
import struct

import pytest

from seadlif_jax.config import ConfigError
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.training import fit
from tests.training_helpers import Killed, kill_at_save

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")


def scalars(folder):
    """All values in the event files of a folder, by tag and step."""
    values = {}
    for path in folder.glob("events.*"):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + length])
            for value in event.summary.value:
                assert (value.tag, event.step) not in values
                values[value.tag, event.step] = value.simple_value
            content = content[16 + length :]
    return values


def test_a_run_s_metrics_are_there_once_also_when_it_is_continued(tmp_path, tiny_config, monkeypatch):
    tiny_config.tensorboard = True
    with monkeypatch.context() as patch:
        kill_at_save(patch, epoch=2, before=True)
        with pytest.raises(Killed):
            fit(tiny_config, tmp_path)
    fit(tiny_config, tmp_path)
    values = scalars(tmp_path / "tensorboard")
    rows = MetricsLog(tmp_path / "metrics.csv").read()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert values["loss/train", row["epoch"]] == pytest.approx(row["train_loss"])
        assert values["accuracy/validation", row["epoch"]] == pytest.approx(row["validation_accuracy"])
        assert values["gradient_norm", row["epoch"]] == pytest.approx(row["gradient_norm"])


def test_members_have_folders_of_their_own(tmp_path, tiny_config):
    tiny_config.tensorboard = True
    tiny_config.num_epochs = 1
    tiny_config.sweep.learning_rate = (0.01, 0.03)
    fit(tiny_config, tmp_path)
    for number, name in enumerate(("0 learning_rate 0.01", "1 learning_rate 0.03")):
        (row,) = MetricsLog(tmp_path / "metrics.csv").read(number)
        assert scalars(tmp_path / "tensorboard" / name)["loss/train", 1] == pytest.approx(row["train_loss"])


def test_what_cannot_be_written_is_refused_before_training(tmp_path, tiny_config, monkeypatch):
    tiny_config.tensorboard = True
    tiny_config.sweep.seed = tuple(range(101))
    with pytest.raises(ConfigError, match="101 members; at most 100"):
        fit(tiny_config, tmp_path / "run")
    tiny_config.sweep.seed = ()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install tensorboardX"):
        fit(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
