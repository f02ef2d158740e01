import pytest

from seadlif_jax.comparison import columns, read
from seadlif_jax.run import RunError
from seadlif_jax.training import train_and_evaluate


def test_members_of_a_sweep_and_their_settings(tmp_path, tiny_config, finished_run):
    tiny_config.sweep.learning_rate = (0.01, 0.03)
    result = train_and_evaluate(tiny_config, tmp_path / "sweep")
    runs = read([tmp_path / "sweep", finished_run])
    assert [run.name for run in runs] == ["sweep, learning_rate 0.01", "sweep, learning_rate 0.03", "run"]
    table = columns(runs)
    settings = list(table)[1 : list(table).index("epochs")]
    assert set(settings) == {"num_epochs", "data.step_ms", "model.hidden", "model.q", "optimizer.learning_rate"}
    assert table["optimizer.learning_rate"] == [0.01, 0.03, 0.05]
    found = [member["test"]["accuracy"] for member in result["members"]]
    assert table["test_accuracy"][:2] == found


def test_runs_without_an_epoch_are_refused(tmp_path, finished_run):
    (tmp_path / "config.json").write_text((finished_run / "config.json").read_text())
    with pytest.raises(RunError, match="has no finished epoch yet"):
        read([tmp_path])
