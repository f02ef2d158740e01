"""`seadlif inspect` and `seadlif compare` as a user runs them."""

import csv

from tests.helpers import is_drawn, seadlif


def test_pictures_of_a_run(own_run, tmp_path):
    result = seadlif("inspect", f"--workdir={own_run}", "--split=validation", "--sample=3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    names = {path.name for path in (own_run / "inspect").iterdir()}
    assert names == {"sample.png", "parameters.png", "training.png", "gradients.png"}
    assert all(is_drawn(own_run / "inspect" / name) for name in names)


def test_runs_side_by_side(tmp_path, own_run, finished_run):
    result = seadlif("compare", own_run, finished_run, f"--output_dir={tmp_path / 'new'}")
    assert result.returncode == 0, result.stderr
    with (tmp_path / "new" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epochs"] for row in rows] == ["8", "8"]
    assert rows[0]["test_accuracy"] == rows[1]["test_accuracy"] != ""
    assert len({row["run"] for row in rows}) == 2
    assert is_drawn(tmp_path / "new" / "comparison.png")
