"""What is done with a run next: more epochs, more members of a sweep, another run that starts from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from seadlif_jax.config import ConfigError
from seadlif_jax.inference import load_run
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder, read_config
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.training import extension, fit
from tests.helpers import make_tiny_config
from tests.training_helpers import Killed, kill_at_save

pytestmark = pytest.mark.usefixtures("without_pictures")


def config_with(**fields):
    """The tiny config; `model__q` stands for `model.q`."""
    config = make_tiny_config().unlock()
    config.optimizer.learning_rate = 0.05
    config.optimizer.plateau_factor = 0.5
    config.model.dropout = 0.1
    for name, value in fields.items():
        section, _, field = name.rpartition("__")
        (config[section] if section else config)[field] = value
    return config.lock()


def numbers(folder):
    """All that must be the same to the bit, and what it is of: metrics, result, and the checkpoint's checksums."""
    rows = MetricsLog(folder / "metrics.csv").by_member()
    result = json.loads((folder / "result.json").read_text())
    members = {path.name: numbers(path) for path in folder.glob("members/*")}  # those that have not diverged
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    metadata = json.loads((newest / "metadata" / "metadata").read_text())
    return (
        {member: [{**row, "seconds": 0} for row in of_member] for member, of_member in rows.items()},
        {name: result.get(name) for name in ("test", "validation", "best_epoch", "seed", "summary")},
        metadata["checksums"],
        metadata["best_epochs"],
        read_config(folder).to_dict(),
        members,
    )


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of runs of 2 and of 5 epochs; not to be written to."""
    folder = tmp_path_factory.mktemp("runs")
    for epochs in (2, 5):
        fit(config_with(num_epochs=epochs), folder / str(epochs))
    return folder


def test_more_epochs_are_those_of_a_run_that_had_them_from_the_start(runs, tmp_path):
    folder = shutil.copytree(runs / "2", tmp_path / "run")
    fit(config_with(num_epochs=5), folder)
    assert numbers(folder) == numbers(runs / "5")


def test_a_killed_extension_loses_nothing_and_does_not_report_the_result_of_the_shorter_run(
    runs, tmp_path, monkeypatch
):
    folder, longer = shutil.copytree(runs / "2", tmp_path / "run"), config_with(num_epochs=5)
    before = (folder / "result.json").read_bytes()
    with monkeypatch.context() as patch:
        kill_at_save(patch, epoch=4)
        with pytest.raises(Killed):
            fit(longer, folder)
    assert (folder / "result.json").read_bytes() == before
    assert read_config(folder).num_epochs == 5
    assert RunFolder(folder, read_config(folder)).result() is None
    fit(longer, folder)
    assert numbers(folder) == numbers(runs / "5")


def test_an_interrupted_run_may_end_earlier_but_not_before_what_it_has(runs, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at_save(patch, epoch=2)
        with pytest.raises(Killed):
            fit(config_with(num_epochs=9), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(RunError, match=r"config.num_epochs = 1: the run in .* has 2 epochs already; give at least"):
        fit(config_with(num_epochs=1), tmp_path)
    assert contents(tmp_path) == before
    fit(config_with(num_epochs=5), tmp_path)
    assert numbers(tmp_path) == numbers(runs / "5")


def test_more_epochs_on_other_data_change_nothing(runs, tmp_path, monkeypatch):
    folder = shutil.copytree(runs / "2", tmp_path / "run")
    (folder / "data.json").write_text('{"train": 1, "validation": 2, "test": 3}')
    before = contents(folder)
    with pytest.raises(RunError, match="a run on other data"):
        fit(config_with(num_epochs=5), folder)
    assert {path: content for path, content in contents(folder).items() if path in before} == before
    assert fit(config_with(num_epochs=2), folder)["best_epoch"] <= 2  # the result is still there


@pytest.mark.slow
def test_more_epochs_of_a_sweep_are_those_of_one_that_had_them_from_the_start(tmp_path):
    """With a member that diverges."""
    for name, lengths in (("extended", (1, 3)), ("whole", (3,))):
        for num_epochs in lengths:
            config = config_with(num_epochs=num_epochs, sweep__learning_rate=(0.05, 1e6), sweep__seed=(0, 1))
            result = fit(config, tmp_path / name)
    assert [member["diverged"] is None for member in result["members"]] == [True, True, False, False]
    extended, whole = (
        [numbers(tmp_path / name / "members" / number) for number in "01"] for name in ("extended", "whole")
    )
    assert extended == whole
    assert load_run(tmp_path / "extended" / "members" / "1").config.num_epochs == 3


def test_training_can_start_from_the_best_parameters_of_another_run(runs, tmp_path, monkeypatch):
    """And is then independent of its folder."""
    source = shutil.copytree(runs / "5", tmp_path / "source")
    config = config_with(num_epochs=2, init_from=str(source), optimizer__learning_rate=1e-30)
    trained = load_run(source)
    with monkeypatch.context() as patch:
        kill_at_save(patch, epoch=0)  # with the first save, before the first step
        with pytest.raises(Killed):
            fit(config, tmp_path / "run")
    shutil.rmtree(source)
    fit(config, tmp_path / "run")
    for name, arrays in load_run(tmp_path / "run").variables.items():
        for path, expected in _leaves(trained.variables[name]):
            np.testing.assert_array_equal(dict(_leaves(arrays))[path], expected, err_msg=path)


def _leaves(tree, prefix=""):
    for name, value in tree.items():
        if hasattr(value, "items"):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield prefix + name, np.asarray(value)


@pytest.mark.slow
def test_every_member_of_a_sweep_starts_from_them(runs, tmp_path):
    config = config_with(
        num_epochs=1, init_from=str(runs / "5"), sweep__seed=(0, 1), sweep__learning_rate=(1e-30,), model__dropout=0.0
    )
    results = fit(config, tmp_path / "sweep")["members"]
    assert results[0]["test"] == results[1]["test"]
    config = config_with(num_epochs=1, init_from=str(tmp_path / "sweep" / "members" / "1"))
    assert fit(config, tmp_path / "run")["best_epoch"] == 1
    with pytest.raises(RunError, match=r"holds a sweep; choose one of its members 0\.\."):
        fit(config_with(init_from=str(tmp_path / "sweep")), tmp_path / "none")


def test_parameters_that_have_changed_before_the_first_save_are_refused(runs, tmp_path, monkeypatch):
    source = shutil.copytree(runs / "2", tmp_path / "source")
    config = config_with(num_epochs=1, init_from=str(source))

    with monkeypatch.context() as patch:
        kill_at_save(patch, epoch=0, before=True)
        with pytest.raises(Killed):
            fit(config, tmp_path / "run")
    shutil.rmtree(source)
    fit(config_with(num_epochs=1, seed=7), source)
    with pytest.raises(RunError, match=r"the parameters in config.init_from = .* have changed since"):
        fit(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model__hidden": (9,)}, r"config.model.hidden is \(8,\) there and \(9,\) here"),
        ({"model__hidden": (8, 8)}, r"config.model.hidden is \(8,\) there and \(8, 8\) here"),
        ({"model__neuron": "lif"}, "config.model.neuron is 'se_adlif' there and 'lif' here"),
        ({"model__neuron": "ef_adlif"}, "config.model.neuron is 'se_adlif' there"),
        ({"model__recurrent": False}, "config.model.recurrent is True there and False here"),
        ({"model__tau_u": (5.0, 50.0)}, r"config.model.tau_u is \(5.0, 25.0\) there and \(5.0, 50.0\) here"),
        ({"model__train_tau_out": True}, "config.model.train_tau_out is False there"),
        ({"sweep__tau_w": ((60.0, 300.0), (30.0, 300.0))}, "config.model.tau_w is"),
        ({"model__b": (1.0, 2.0)}, r"b of layers_0 reaches .*, outside of the bounds of this config, 1..2"),
        ({"data__num_classes": 4}, r"readout/bias is \(3,\) there and \(4,\) here"),
        ({"init_from": "nowhere"}, "nowhere holds no run"),
        ({"init_from": __file__}, "holds no run"),
    ],
)
def test_parameters_of_another_network_are_refused_before_training(runs, tmp_path, fields, message):
    config = config_with(**{"init_from": str(runs / "2"), **fields})
    with pytest.raises((ConfigError, RunError), match=message):
        fit(config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_what_may_differ_from_the_run_started_from_is_accepted(runs, tmp_path):
    config = config_with(
        num_epochs=1, init_from=str(runs / "2"), model__q=60.0, model__b=(-1.0, 3.0), data__seed=5, batch_size=8
    )
    assert fit(config, tmp_path)["best_epoch"] == 1


def test_a_run_of_a_version_without_a_field_goes_on(runs, tmp_path):
    folder = shutil.copytree(runs / "2", tmp_path / "run")
    fields = json.loads((folder / "config.json").read_text())
    del fields["init_from"], fields["compute"]["unroll"]
    (folder / "config.json").write_text(json.dumps(fields))
    assert read_config(folder).to_dict() == read_config(runs / "2").to_dict()
    assert RunFolder(folder, config_with(num_epochs=2)).result()
    with pytest.raises(RunError, match=r"config.compute.unroll: 1 -> 2"):
        fit(config_with(num_epochs=2, compute__unroll=2), folder)


DIVERGING = (0.01, 1e6)


def sweep_with(seeds, rates=DIVERGING, **fields):
    return config_with(**{"num_epochs": 1, "sweep__seed": seeds, "sweep__learning_rate": rates, **fields})


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    """The folders of sweeps with two seeds, and three, at two learning rates, one of which diverges."""
    folder = tmp_path_factory.mktemp("sweeps")
    for seeds in ((0, 1), (0, 1, 2)):
        fit(sweep_with(seeds), folder / str(len(seeds)))
    return folder


@pytest.mark.slow
def test_members_added_to_a_sweep_are_those_of_a_sweep_that_had_them_from_the_start(sweeps, tmp_path):
    """Bit for bit, if the devices have equal shares in both; and under the same numbers."""
    folder = shutil.copytree(sweeps / "2", tmp_path / "sweep")
    added = fit(sweep_with((0, 1, 2)), folder)
    whole = json.loads((sweeps / "3" / "result.json").read_text())
    assert [(one["member"], one["varied"], one["diverged"]) for one in added["members"]] == [
        (one["member"], one["varied"], one["diverged"]) for one in json.loads(json.dumps(whole["members"]))
    ]
    assert numbers(folder) == numbers(sweeps / "3")
    assert {path.name for path in folder.iterdir()} == {path.name for path in (sweeps / "3").iterdir()}
    assert load_run(folder, member=2).config.seed == 2
    # Once more: it is finished. And it goes on like any sweep.
    assert fit(sweep_with((0, 1, 2)), folder) == added
    more = {name: shutil.copytree(path, tmp_path / name) for name, path in (("a", folder), ("b", sweeps / "3"))}
    for path in more.values():
        fit(sweep_with((0, 1, 2), num_epochs=2), path)
    assert numbers(more["a"]) == numbers(more["b"])


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["training", "config.json", "members", "result.json"])
def test_adding_that_is_killed_at_any_moment_goes_on(sweeps, tmp_path, monkeypatch, moment):
    """In training, or before a part of the whole sweep is moved to its place."""
    folder = shutil.copytree(sweeps / "2", tmp_path / "sweep")
    before, rename = contents(folder), Path.rename

    def killed_rename(path, target):
        if path.name == moment and path.parent.name == "whole":
            raise Killed
        return rename(path, target)

    with monkeypatch.context() as patch:
        if moment == "training":
            kill_at_save(patch, epoch=1)
        else:
            patch.setattr(Path, "rename", killed_rename)
        with pytest.raises(Killed):
            fit(sweep_with((0, 1, 2)), folder)
    after = contents(folder)
    if moment == "training":
        with pytest.raises(RunError, match=r"more members are being added .*, and are not finished: finish them first"):
            fit(sweep_with((0, 1), num_epochs=2), folder)
    if moment in ("training", "config.json"):  # it is still the old sweep
        assert {path: after[path] for path in before} == before
    else:
        assert RunFolder(folder, read_config(folder)).result() is None
    fit(sweep_with((0, 1, 2)), folder)
    assert numbers(folder) == numbers(sweeps / "3")
    assert not (folder / extension.FOLDER).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (sweep_with((0,)), "config.sweep.seed: .* choose another --workdir"),
        (sweep_with((0, 2)), "config.sweep.seed: .* choose another --workdir"),
        (sweep_with((0, 1, 2), model__q=3.0), "config.model.q: 120.0 -> 3.0; config.sweep.seed"),
        (sweep_with((0, 1, 2), num_epochs=2), "add members first, and epochs then"),
        (sweep_with((0, 1), sweep__samples=1), "config.sweep.samples: 0 -> 1"),
    ],
)
def test_other_changes_of_a_sweep_are_refused_and_change_nothing(sweeps, config, message):
    before = contents(sweeps / "2")
    with pytest.raises(RunError, match=message):
        fit(config, sweeps / "2")
    assert contents(sweeps / "2") == before


def test_members_are_not_added_to_a_sweep_that_is_not_finished(sweeps, tmp_path):
    folder = shutil.copytree(sweeps / "2", tmp_path / "sweep")
    (folder / "result.json").unlink()
    with pytest.raises(RunError, match="holds a sweep that is not finished; let it finish before members are added"):
        fit(sweep_with((0, 1, 2)), folder)


def test_members_are_not_added_if_the_parameters_to_start_from_have_changed(runs, tmp_path):
    source = shutil.copytree(runs / "2", tmp_path / "source")
    fit(sweep_with((0,), (0.01,), init_from=str(source)), tmp_path / "sweep")
    before = contents(tmp_path / "sweep")
    shutil.rmtree(source)
    fit(config_with(num_epochs=1, seed=7), source)
    with pytest.raises(RunError, match=r"the parameters in config.init_from = .* have changed since"):
        fit(sweep_with((0, 1), (0.01,), init_from=str(source)), tmp_path / "sweep")
    assert {path: content for path, content in contents(tmp_path / "sweep").items() if path in before} == before


def test_members_are_not_added_without_the_checkpoint_of_the_old_ones(sweeps, tmp_path, monkeypatch):
    folder = shutil.copytree(sweeps / "2", tmp_path / "sweep")
    shutil.rmtree(folder / "checkpoints")
    monkeypatch.setattr("seadlif_jax.training.fitting.train_members", None)  # before anything is trained
    with pytest.raises(RunError, match="holds a finished sweep, but no checkpoint; put the checkpoints back"):
        fit(sweep_with((0, 1, 2)), folder)


@pytest.mark.parametrize("left", ["begun", "removed in part"])
def test_adding_that_is_killed_before_or_after_it_has_a_config_leaves_a_finished_sweep(sweeps, tmp_path, left):
    folder = shutil.copytree(sweeps / "2", tmp_path / "sweep")
    result = json.loads((folder / "result.json").read_text())
    if left == "begun":
        (folder / extension.FOLDER / "new").mkdir(parents=True)
        (folder / extension.FOLDER / "new" / ".lock").touch()
    else:
        shutil.copytree(folder / "members", folder / extension.FOLDER / "new" / "members")
    assert fit(sweep_with((0, 1)), folder) == result
    assert not (folder / extension.FOLDER).exists()


def test_members_can_be_added_to_a_sweep_that_has_diverged_in_all(tmp_path):
    fit(sweep_with((0,), (1e6, 2e6)), tmp_path)
    assert list((tmp_path / "checkpoints").iterdir())
    assert [one["diverged"] for one in fit(sweep_with((0,), (1e6, 2e6, 3e6)), tmp_path)["members"]] == [1, 1, 1]


def test_the_config_of_a_continued_run_says_where_its_data_are_now(tmp_path):
    fit(config_with(num_epochs=1), tmp_path)
    fit(config_with(num_epochs=2, data__dir=str(tmp_path / "moved"), checkpoint__every_epochs=2), tmp_path)
    config = read_config(tmp_path)
    assert (config.num_epochs, config.data.dir, config.checkpoint.every_epochs) == (2, str(tmp_path / "moved"), 2)
