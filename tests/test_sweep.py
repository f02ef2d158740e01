import csv
import json

import numpy as np
import pytest

from seadlif_jax.config import ConfigError, to_json
from seadlif_jax.inference import load_network
from seadlif_jax.members import expand_sweep
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.tasks import Classification, Forecast
from seadlif_jax.training import fit
from seadlif_jax.training.report import describe_result
from seadlif_jax.training.sweep import summarize
from tests.helpers import is_drawn
from tests.training_helpers import Killed, assert_close, assert_same_network, kill_at_save, rows_of

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def sweep_config(tiny_config):
    """Two learning rates, each with two seeds."""
    tiny_config.model.dropout = 0.1
    tiny_config.sweep.seed = (3, 4)
    tiny_config.sweep.learning_rate = (0.01, 0.03)
    return tiny_config


def test_members_are_all_combinations_each_with_every_seed(sweep_config):
    sweep_config.sweep.tau_u = ((5.0, 25.0), (5.0, 50.0))
    members = expand_sweep(sweep_config)
    assert [member.varied for member in members[:3]] == [
        {"learning_rate": 0.01, "tau_u": (5.0, 25.0), "seed": 3},
        {"learning_rate": 0.01, "tau_u": (5.0, 25.0), "seed": 4},
        {"learning_rate": 0.01, "tau_u": (5.0, 50.0), "seed": 3},
    ]
    assert len(members) == 8
    assert str(members[-1]) == "learning_rate 0.03, tau_u 5..50, seed 4"


def test_a_members_config_is_that_of_the_plain_run(sweep_config):
    of_member = expand_sweep(sweep_config)[2].config
    for name in ("seed", "learning_rate"):
        sweep_config.sweep[name] = ()
    sweep_config.seed, sweep_config.optimizer.learning_rate = 3, 0.03
    assert to_json(of_member) == to_json(sweep_config)
    (run,) = expand_sweep(sweep_config)
    assert run.varied == {}
    assert to_json(run.config) == to_json(sweep_config)


def test_settings_can_be_drawn_and_are_the_same_again(tiny_config):
    tiny_config.sweep.seed = (0, 1)
    tiny_config.sweep.learning_rate = ("log_uniform", 1e-4, 1.0)
    tiny_config.sweep.q = ("uniform", 50, 150)
    tiny_config.sweep.slope = (3.0, 5.0)
    tiny_config.sweep.samples = 400
    members = expand_sweep(tiny_config)
    assert members == expand_sweep(tiny_config)
    assert len(members) == 800
    assert [member.varied["seed"] for member in members[:4]] == [0, 1, 0, 1]
    rates, q = (np.array([member.varied[name] for member in members[::2]]) for name in ("learning_rate", "q"))
    assert rates.min() > 1e-4
    assert rates.max() < 1.0
    assert np.mean(rates < 0.01) == pytest.approx(0.5, abs=0.1)  # evenly over the orders of magnitude
    assert q.mean() == pytest.approx(100, abs=5)
    assert {member.varied["slope"] for member in members} == {3.0, 5.0}


def test_settings_drawn_from_values_are_all_different(tiny_config):
    tiny_config.sweep.q = (60.0, 90.0, 120.0)
    tiny_config.sweep.slope = (3.0, 5.0)
    tiny_config.sweep.samples = 5
    assert len({str(member) for member in expand_sweep(tiny_config)}) == 5


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("seed", (0, 0), "a tuple of values, all different, each a whole number"),
        ("seed", ("uniform", 0, 9), "a tuple of values, all different, each a whole number"),
        ("learning_rate", (0.1, -1.0), r"config.sweep.learning_rate = \(0.1, -1.0\)"),
        ("learning_rate", ("log_uniform", 0.0, 1.0), "or a range to draw from"),
        ("learning_rate", ("normal", 0.0, 1.0), "or a range to draw from"),
        ("learning_rate", ("uniform", 1.0, 0.1), "or a range to draw from"),
        ("learning_rate", ("uniform", 0.1, 1.0), "config.sweep.samples = 0: it must be the number of settings to draw"),
        ("tau_u", (5.0, 25.0), r"each a pair \(min, max\) of steps"),
        ("samples", 3, "there are only 1 combinations"),
        ("seed", tuple(range(10_001)), "10001 members; at most 10000"),
    ],
)
def test_values_that_cannot_be_swept_are_refused_by_name(tiny_config, tmp_path, name, values, message):
    tiny_config.sweep[name] = values
    with pytest.raises(ConfigError, match=message):
        fit(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_a_member_is_the_run_with_the_same_settings(tmp_path, sweep_config, x64, number):
    """The member left as a run of its own, too."""
    sweep_config.sweep.seed = (4,)
    sweep_config.sweep.dropout = (0.0, 0.2)
    swept = fit(sweep_config, tmp_path / "sweep")
    config = expand_sweep(sweep_config)[number].config
    single = fit(config, tmp_path / "single")
    member = swept["members"][number]
    assert member["varied"] == {"learning_rate": 0.03, "dropout": 0.2 * (number - 2), "seed": 4}
    for name in ("best_epoch", "protocol", "seed", "config"):
        assert member[name] == single[name], name
    for split in ("test", "validation"):
        assert_close(member[split], single[split])

    own = tmp_path / "sweep" / "members" / str(number)
    assert json.loads((own / "result.json").read_text()).items() <= member.items()
    assert {path.name for path in own.iterdir()} == {path.name for path in (tmp_path / "single").iterdir()}
    for folder, member_number in ((tmp_path / "sweep", number), (own, 0)):
        for found, expected in zip(rows_of(folder, member_number), rows_of(tmp_path / "single"), strict=True):
            assert_close(found, expected)
        assert_same_network(load_network(folder, member_number)[1], load_network(tmp_path / "single")[1])
    # It is a finished run.
    assert fit(config, own)["finished"] == member["finished"]


@pytest.mark.slow
def test_members_computed_together_are_the_same_as_one_by_one(tmp_path, sweep_config, x64):
    """On one device; with ranges of the neurons' parameters that differ."""
    sweep_config.devices.mesh = (1, 1)
    sweep_config.sweep.seed = ()
    sweep_config.sweep.learning_rate = ()
    sweep_config.sweep.b = ((0.0, 2.0), (0.5, 1.0))
    sweep_config.sweep.tau_u = ((5.0, 25.0), (5.0, 50.0))
    for width in (1, 3):
        sweep_config.devices.width = width
        fit(sweep_config, tmp_path / str(width))
        for number in range(4):
            for found, expected in zip(
                rows_of(tmp_path / str(width), number), rows_of(tmp_path / "1", number), strict=True
            ):
                assert_close(found, expected)
            variables = load_network(tmp_path / str(width), number)[1]
            assert_same_network(variables, load_network(tmp_path / "1", number)[1])
    b = variables["params"]["layers_0"]["b"]
    assert 0.5 <= b.min() <= b.max() <= 1.0


@pytest.mark.pictures
def test_a_sweep_whose_members_all_diverge_says_so(tmp_path, tiny_config, capsys):
    tiny_config.sweep.learning_rate = (1e6, 2e6)
    result = fit(tiny_config, tmp_path)
    assert [member["diverged"] for member in result["members"]] == [1, 1]
    assert (
        describe_result(result, Classification(3))[0]
        == "learning_rate 1000000: no finished members  (1 seed, 1 diverged)"
    )
    for name in ("members.csv", "summary.csv", "sweep.png"):
        assert (tmp_path / name).exists()
    assert fit(tiny_config, tmp_path)["finished"] == result["finished"]
    assert len([line for line in capsys.readouterr().out.splitlines() if ": diverged; frozen" in line]) == 2


@pytest.mark.parametrize(
    ("task", "protocol", "line"),
    [
        (Classification(3), "best epoch", "best validation accuracy: q 60"),
        (Forecast(), "best epoch", "best validation loss: q 120"),
        (Classification(3), "last epoch", None),
    ],
)
def test_the_best_setting_is_named_by_what_selects_epochs(task, protocol, line):
    results = [
        {"varied": {"q": q, "seed": seed}, "diverged": None, "test": metrics, "validation": metrics}
        for q, metrics in ((60.0, {"accuracy": 0.9, "loss": 0.5}), (120.0, {"accuracy": 0.8, "loss": 0.4}))
        for seed in (0, 1)
    ]
    results.append({"varied": {"q": 240.0, "seed": 0}, "diverged": 3})
    lines = describe_result({"summary": summarize(results), "protocol": protocol}, task)
    assert [text for text in lines if text.startswith("best validation")] == ([line] if line else [])


@pytest.mark.pictures
def test_a_picture_that_fails_costs_no_result(tmp_path, sweep_config, monkeypatch, capsys):
    def fail(*args):
        raise OSError("no space left")

    sweep_config.num_epochs = 1
    with monkeypatch.context() as patch:
        patch.setattr("seadlif_jax.training.report.save_task_pictures", fail)
        assert fit(sweep_config, tmp_path)["summary"]
    curves = [tmp_path / "members" / str(member) / "curves.png" for member in range(4)]
    before = [path.read_bytes() for path in curves]
    message = f"warning: not all pictures of {tmp_path / 'members' / '3'} could be drawn (OSError: no space left)"
    assert message in capsys.readouterr().out

    sweep_config.num_epochs = 2  # after more epochs, all pictures are drawn anew
    fit(sweep_config, tmp_path)
    assert all(path.read_bytes() != old for path, old in zip(curves, before, strict=True))
    assert all(path.with_name("raster.png").exists() for path in curves)


@pytest.mark.pictures
def test_a_sweep_leaves_its_tables_and_its_picture(tmp_path, sweep_config, capsys):
    result = fit(sweep_config, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(result))
    assert set(result) >= {"members", "summary", "protocol", "seed", "config", "versions", "device", "wall_seconds"}

    of_setting = [member["test"]["accuracy"] for member in result["members"][:2]]
    first = result["summary"][0]
    assert first["setting"] == {"learning_rate": 0.01}
    assert first["seeds"] == 2
    assert first["test"]["accuracy"] == {"mean": np.mean(of_setting), "std": np.std(of_setting, ddof=1)}

    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["learning_rate"] for row in rows] == ["0.01", "0.03"]
    assert float(rows[0]["test_accuracy_mean"]) == first["test"]["accuracy"]["mean"]
    with (tmp_path / "members.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["3", "4", "3", "4"]
    assert float(rows[3]["test_accuracy"]) == result["members"][3]["test"]["accuracy"]
    assert is_drawn(tmp_path / "sweep.png")

    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("warning: ")]
    assert lines[1] == "4 members on 2 x 1 devices (by member and by sample)"
    assert lines[2].startswith("epoch 1/3  4 of 4 members  validation accuracy ")

    with pytest.raises(RunError, match=r"has no member 4; its members are 0..3"):
        load_network(tmp_path, 4)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_sweep_killed_at_a_save_continues_to_the_same_numbers(tmp_path, sweep_config, monkeypatch, moment):
    """With a member that has diverged before."""
    sweep_config.num_epochs = 5
    sweep_config.optimizer.plateau_factor = 0.5
    sweep_config.sweep.learning_rate = (0.01, 1e6)
    whole = fit(sweep_config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_at_save(patch, epoch=3, before=moment == "before")
        with pytest.raises(Killed):
            fit(sweep_config, tmp_path / "killed")
    resumed = fit(sweep_config, tmp_path / "killed")
    for found, expected in zip(resumed["members"], whole["members"], strict=True):
        for name in ("varied", "diverged", "test", "validation", "best_epoch"):
            assert found.get(name) == expected.get(name)
    for number in range(4):
        assert rows_of(tmp_path / "killed", number) == rows_of(tmp_path / "whole", number)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [2, 4])
def test_a_sweep_cut_off_while_its_members_are_written_goes_on_there(tmp_path, sweep_config, monkeypatch, moment):
    """In the middle of a member, or when all are there."""

    finish = RunFolder.finish

    def killed(self, **result):
        if self.path == (tmp_path / "members" / "2" if moment == 2 else tmp_path):
            raise Killed
        return finish(self, **result)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", killed)
        with pytest.raises(Killed):
            fit(sweep_config, tmp_path)
    paths = [tmp_path / "members" / str(member) / "result.json" for member in range(4)]
    written = [path.stat().st_mtime_ns for path in paths if path.exists()]
    assert len(written) == moment
    fit(sweep_config, tmp_path)
    assert [path.stat().st_mtime_ns for path in paths[:moment]] == written
    assert all(path.exists() for path in paths)


@pytest.mark.slow
def test_three_members_fit_on_two_devices_by_sample(tmp_path, sweep_config):
    sweep_config.sweep.seed = (0, 1, 2)
    sweep_config.sweep.learning_rate = ()
    sweep_config.devices.mesh = (1, 2)
    assert len(fit(sweep_config, tmp_path)["members"]) == 3


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ((3, 1), "there are 2 devices"),
        ((2, 2), "there are 2 devices"),
        ((2, 1), "cannot be divided by 2"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(tmp_path, sweep_config, mesh, message):
    sweep_config.sweep.seed = (0, 1, 2)
    sweep_config.sweep.learning_rate = ()
    sweep_config.devices.mesh = mesh
    with pytest.raises(ConfigError, match=message):
        fit(sweep_config, tmp_path)
