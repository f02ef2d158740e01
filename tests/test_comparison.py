import pytest

from seadlif_jax.analysis.comparison import comparison_table, read_runs
from seadlif_jax.members import format_value
from seadlif_jax.runs.errors import RunError
from seadlif_jax.training import fit


@pytest.mark.slow
def test_members_of_a_sweep_and_their_settings(tmp_path, tiny_config, finished_run):
    tiny_config.sweep.learning_rate = (0.01, 0.03)
    result = fit(tiny_config, tmp_path / "sweep")
    runs = read_runs([tmp_path / "sweep", finished_run])
    assert [run.name for run in runs] == ["sweep, learning_rate 0.01", "sweep, learning_rate 0.03", "run"]
    table = comparison_table(runs)
    settings = list(table)[1 : list(table).index("epochs")]
    assert set(settings) == {"num_epochs", "data.step_ms", "model.hidden", "model.q", "optimizer.learning_rate"}
    assert table["optimizer.learning_rate"] == [0.01, 0.03, 0.05]
    found = [member["test"]["accuracy"] for member in result["members"]]
    assert table["test_accuracy"][:2] == found


def test_folders_without_an_epoch_are_skipped_with_the_reason(tmp_path, finished_run):
    for name in ("empty", "no epoch", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "no epoch" / "config.json").write_text((finished_run / "config.json").read_text())
    (tmp_path / "damaged" / "config.json").write_text("{")
    (tmp_path / "notes.txt").touch()
    folders = [*sorted(tmp_path.iterdir()), tmp_path / "nowhere"]
    reasons = []
    assert [run.name for run in read_runs([*folders, finished_run], reasons.append)] == [finished_run.name]
    expected = ("config.json is damaged", "empty holds no run", "no finished epoch yet", "notes.txt holds no run")
    for reason, part in zip(reasons, (*expected, "nowhere holds no run"), strict=True):
        assert part in reason
    with pytest.raises(RunError, match="none of these folders holds a run with a finished epoch"):
        read_runs(folders)


def test_values_of_any_type_are_texts():
    assert [format_value(value) for value in (0.01, (5.0, 25.0), ("a", "b"), None, ("a", 2))] == [
        "0.01", "5..25", "a..b", "None", "a..2"
    ]  # fmt: skip
