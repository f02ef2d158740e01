"""A run from its config to its result: what it leaves, and that it is continued to the same numbers."""

import csv
import gc
import json
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from data import bsd
from seadlif_jax import losses
from seadlif_jax.analysis import forecast_error
from seadlif_jax.config import ConfigError
from seadlif_jax.data.dataset import Dataset, Split
from seadlif_jax.data.on_device.samples import to_device
from seadlif_jax.inference import load_network
from seadlif_jax.inference.trained_model import run_network
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.tasks import Forecast
from seadlif_jax.training import fit, fitting
from seadlif_jax.training.fitting import Due, Saver
from seadlif_jax.training.state import Position
from seadlif_jax.utils.signals import Interrupted
from tests.helpers import is_drawn
from tests.training_helpers import Killed, assert_same_network, interrupt_at, kill_at_save, rows_of

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.mark.pictures
def test_a_run_leaves_what_it_promises(tmp_path, tiny_config, capsys):
    tiny_config.seed = 4
    result = fit(tiny_config, tmp_path)

    written = json.loads((tmp_path / "result.json").read_text())
    assert written == result
    assert set(written) >= {
        "test", "validation", "protocol", "seed", "best_epoch", "config", "versions", "device", "mesh", "wall_seconds",
    }  # fmt: skip
    assert set(written["test"]) == set(written["validation"]) == {"loss", "accuracy", "spike_rate_1"}
    assert 0 <= written["test"]["accuracy"] <= 1
    assert written["seed"] == 4
    assert written["config"]["model"]["hidden"] == [8]
    assert {"jax", "flax", "optax", "python"} <= set(written["versions"])

    rows = MetricsLog(tmp_path / "metrics.csv").read()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) >= {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds"}
    best = rows[written["best_epoch"] - 1]
    assert best["validation_accuracy"] == max(row["validation_accuracy"] for row in rows)
    assert best["validation_accuracy"] == pytest.approx(written["validation"]["accuracy"], rel=1e-6)
    assert best["validation_loss"] == pytest.approx(written["validation"]["loss"], rel=1e-5)
    assert written["wall_seconds"] == pytest.approx(sum(row["seconds"] for row in rows))

    assert json.loads((tmp_path / "config.json").read_text())["data"]["num_samples"] == 100
    assert (tmp_path / "checkpoints" / "3").is_dir()
    for name in ("curves.png", "raster.png"):
        assert is_drawn(tmp_path / name)

    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 4
    assert lines[0] == "70 training, 10 validation and 20 test samples of 200 steps and 10 channels"
    assert lines[2].startswith("epoch 2/3  train loss ")


def test_processes_on_different_data_are_refused(tmp_path, tiny_config, monkeypatch):
    def with_another_validation_split(values):
        return np.stack([values, values + (np.arange(len(values)) == 2)])

    monkeypatch.setattr(fitting, "allgather", with_another_validation_split)
    with pytest.raises(RunError, match="process 1 has another validation split than process 0"):
        fit(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_run_again(tmp_path, tiny_config, monkeypatch):
    result = fit(tiny_config, tmp_path)
    monkeypatch.setattr(fitting, "load_dataset", None)
    assert fit(tiny_config, tmp_path) == result


@pytest.mark.parametrize("neuron", ["lif", pytest.param("ef_adlif", marks=pytest.mark.slow), "lstm"])
def test_every_neuron_can_be_trained(tmp_path, tiny_config, neuron):
    tiny_config.model.neuron = neuron
    tiny_config.model.dropout = 0.1
    tiny_config.model.hidden = (8, 6)
    tiny_config.num_epochs = 1
    assert fit(tiny_config, tmp_path)["best_epoch"] == 1


@pytest.mark.pictures
def test_per_step_labels_are_drawn_too(tmp_path, tiny_config, monkeypatch):
    """One block a step, as in the ECG task."""

    def load(config):
        dataset = bsd.load(config)

        def per_step(split):
            samples, steps = split.inputs.shape[:2]
            return split._replace(
                targets=np.concatenate([np.full((samples, 1), -1), split.inputs[:, :, 0]], axis=1),
                block_index=np.tile(np.arange(1, steps + 1), (samples, 1)),
            )

        return dataset._replace(**{name: per_step(getattr(dataset, name)) for name in ("train", "validation", "test")})

    module = types.ModuleType("own_loader")
    module.load = load
    monkeypatch.setitem(sys.modules, "own_loader", module)
    tiny_config.data.loader = "own_loader:load"
    tiny_config.model.aggregation = "mean"
    tiny_config.num_epochs = 1
    fit(tiny_config, tmp_path)
    assert (tmp_path / "raster.png").exists()


@pytest.mark.pictures
@pytest.mark.parametrize("step_ms", [5.0, None])
def test_a_forecast_leaves_its_error_along_the_trajectory(tmp_path, tiny_config, monkeypatch, step_ms):
    """A sine of another phase in each sample, 30 steps."""
    phases = np.arange(60)[:, None, None] + np.array([0.0, 1.0])
    targets = np.sin(0.3 * np.arange(31)[:, None] + phases).astype(np.float32)
    split = Split(targets[:, :-1], targets, np.ones((60, 30), np.int8))
    module = types.ModuleType("own_loader")
    module.load = lambda config: Dataset(split, split, split, "none")
    monkeypatch.setitem(sys.modules, "own_loader", module)
    tiny_config.data.loader = "own_loader:load"
    tiny_config.data.step_ms = step_ms
    tiny_config.task = "forecast"
    result = fit(tiny_config, tmp_path)

    unit, width = ("steps", 10.0) if step_ms is None else ("ms", 25.0)
    with (tmp_path / "forecast_error.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert list(rows[0]) == [f"from_{unit}", f"to_{unit}", "network_mse", "zero_mse"]
    windows = (targets[:, 1:] ** 2).mean(axis=(0, 2)).reshape(len(rows), -1).mean(axis=1)
    assert [row["from_" + unit] for row in rows] == [width * number for number in range(len(rows))]
    np.testing.assert_allclose([row["zero_mse"] for row in rows], windows, rtol=1e-5)
    if step_ms:  # the feedback starts at 75 ms, the end of a window
        assert np.mean([row["network_mse"] for row in rows[3:]]) == pytest.approx(result["test"]["mse"], rel=1e-5)
    for name in ("curves.png", "forecast.png", "forecast_error.png"):
        assert is_drawn(tmp_path / name)
    assert not (tmp_path / "raster.png").exists()

    network, variables = load_network(tmp_path)
    errors = forecast_error.squared_errors(
        run_network(network, Forecast(), variables, jnp.asarray(split.inputs)), to_device(split)
    )
    assert float(errors.second_half) == pytest.approx(result["test"]["mse"], rel=1e-5)


def test_a_bad_config_is_refused_before_anything_is_made(tmp_path, tiny_config):
    tiny_config.model.tau_u = (25.0, 5.0)
    with pytest.raises(ConfigError, match=r"config.model.tau_u = \(25.0, 5.0\)"):
        fit(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the row", "before the save", "during the save"])
def test_a_run_killed_at_any_moment_of_an_epoch_continues_to_the_same_numbers(
    tmp_path, tiny_config, monkeypatch, moment
):
    """With a plateau schedule, whose state must be restored too."""
    tiny_config.num_epochs = 6
    tiny_config.optimizer.plateau_factor = 0.5
    tiny_config.optimizer.learning_rate = 0.05
    whole = fit(tiny_config, tmp_path / "whole")
    append = MetricsLog.append

    def killed_append(self, rows):
        if rows[0]["epoch"] == 4:
            raise Killed
        append(self, rows)

    with monkeypatch.context() as patch:
        if moment == "before the row":
            patch.setattr(MetricsLog, "append", killed_append)
        else:
            kill_at_save(patch, epoch=4, before=moment == "before the save")
        with pytest.raises(Killed):
            fit(tiny_config, tmp_path / "killed")
    resumed = fit(tiny_config, tmp_path / "killed")

    assert resumed["test"] == whole["test"]
    assert resumed["validation"] == whole["validation"]
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
    assert rows_of(tmp_path / "whole")[-1]["learning_rate"] < 0.05


@pytest.mark.parametrize("swept", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_interrupted_within_an_epoch_is_continued_at_that_step(tmp_path, tiny_config, monkeypatch, capsys, swept):
    """Four steps an epoch, and its end: the seventh moment is within the second epoch, the third from there its end."""
    tiny_config.model.dropout = 0.1
    tiny_config.optimizer.plateau_factor = 0.5
    if swept:
        tiny_config.sweep.learning_rate = (0.01, 1e6, 0.02)
    whole = fit(tiny_config, tmp_path / "whole")
    printed = []
    for moment in (7, 3):
        with monkeypatch.context() as patch:
            interrupt_at(patch, moment)
            with pytest.raises(Interrupted):
                fit(tiny_config, tmp_path / "stopped")
        printed.append(capsys.readouterr().out)
    resumed = fit(tiny_config, tmp_path / "stopped")
    assert "continuing after epoch 1, step 2/4 of the next\n" in printed[1]
    assert "continuing after epoch 2\n" in capsys.readouterr().out
    for member in range(3 if swept else 1):
        assert rows_of(tmp_path / "stopped", member) == rows_of(tmp_path / "whole", member)
        if member != 1:  # which has diverged in the first epoch
            assert_same_network(*(load_network(tmp_path / name, member)[1] for name in ("whole", "stopped")))
    for name in ("test", "validation", "summary"):
        assert resumed.get(name) == whole.get(name)


@pytest.mark.slow
# Orbax drops coroutines of its own when a restore fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_from_a_damaged_checkpoint_a_sweep_is_continued_at_the_one_before(tmp_path, tiny_config, monkeypatch):
    tiny_config.num_epochs = 6
    tiny_config.checkpoint.every_epochs = 2
    tiny_config.sweep.learning_rate = (0.01, 1e6, 0.02)
    whole = fit(tiny_config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 27)  # the second step of the sixth epoch
        with pytest.raises(Interrupted):
            fit(tiny_config, tmp_path / "stopped")
    newest = max((tmp_path / "stopped" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (newest / "last" / "manifest.ocdbt").write_bytes(b"")
    resumed = fit(tiny_config, tmp_path / "stopped")
    assert (newest.parent / f"damaged-{newest.name}").exists()
    for member in range(3):
        assert rows_of(tmp_path / "stopped", member) == rows_of(tmp_path / "whole", member)
    assert resumed["summary"] == whole["summary"]
    gc.collect()


def test_a_run_without_a_finished_epoch_has_no_network(tmp_path, tiny_config, monkeypatch):
    interrupt_at(monkeypatch, 2)
    with pytest.raises(Interrupted):
        fit(tiny_config, tmp_path)
    with pytest.raises(RunError, match="no finished epoch"):
        load_network(tmp_path)


def positions_saved(monkeypatch):
    """Epoch and step of each save to come."""
    saved, save = [], Checkpoints.save

    def noted(self, trees, metadata):
        saved.append((metadata["epochs"][0], metadata["step"]))
        save(self, trees, metadata)

    monkeypatch.setattr(Checkpoints, "save", noted)
    return saved


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(1e-9, [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]), (1e9, [(2, 0)])],
)
def test_saves_are_made_when_they_are_due(tmp_path, tiny_config, monkeypatch, minutes, expected):
    tiny_config.num_epochs, tiny_config.checkpoint.every_epochs = 2, 5
    tiny_config.checkpoint.every_minutes = minutes
    saved = positions_saved(monkeypatch)
    monkeypatch.setattr(fitting, "CALL_SECONDS", 0)
    fit(tiny_config, tmp_path)
    assert saved == expected


def test_how_often_to_save_may_change(tmp_path, tiny_config, monkeypatch):
    """With more rows since the last save than there would be now."""
    tiny_config.checkpoint.every_epochs, tiny_config.num_epochs = 5, 6
    tiny_config.checkpoint.every_minutes = 1e9
    with monkeypatch.context() as patch:
        kill_at_save(patch, epoch=5, before=True)
        with pytest.raises(Killed):
            fit(tiny_config, tmp_path)
    tiny_config.checkpoint.every_epochs = 1
    assert fit(tiny_config, tmp_path)["test"]


def test_rows_whose_checkpoints_are_gone_are_kept(tmp_path, tiny_config, monkeypatch):
    tiny_config.num_epochs = 4
    with monkeypatch.context() as patch:
        interrupt_at(patch, 16)
        with pytest.raises(Interrupted):
            fit(tiny_config, tmp_path)
    (tmp_path / "checkpoints").rename(tmp_path / "gone")
    before = rows_of(tmp_path)
    with pytest.raises(RunError, match="has 3 rows, but there is no checkpoint"):
        fit(tiny_config, tmp_path)
    assert rows_of(tmp_path) == before


def test_a_run_is_not_continued_on_other_data(tmp_path, tiny_config, monkeypatch):
    load = fitting.load_dataset

    def other_data(config, given):
        dataset = load(config, given)
        return dataset._replace(validation=dataset.test)

    with monkeypatch.context() as patch:
        kill_at_save(patch, epoch=1)
        with pytest.raises(Killed):
            fit(tiny_config, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "load_dataset", other_data)
        with pytest.raises(RunError, match="a run on other data: the validation split has changed"):
            fit(tiny_config, tmp_path)
    assert fit(tiny_config, tmp_path)["test"]


def test_a_trained_network_can_be_loaded(tmp_path, tiny_config):
    result = fit(tiny_config, tmp_path)
    network, variables = load_network(tmp_path)
    test = to_device(bsd.load(tiny_config).test)
    batch = test.take(jnp.arange(test.size))
    sums = losses.classification(network.apply(variables, batch.inputs), batch.block_index, batch.targets, "softmax")
    assert float(sums.mean_loss()) == pytest.approx(result["test"]["loss"], rel=1e-5)


def test_a_folder_without_a_trained_network_is_refused(tmp_path, tiny_config):
    with pytest.raises(RunError, match="holds no run"):
        load_network(tmp_path)
    with RunFolder(tmp_path, tiny_config).lock(), pytest.raises(RunError, match="no checkpoint yet"):
        load_network(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_calls_grow_to_about_a_second_and_shrink_when_the_machine_gets_slower():
    def lengths(steps, count, seconds_per_step):
        series = [steps]
        for _ in range(count - 1):
            series.append(fitting.next_call_steps(series[-1], series[-1] * seconds_per_step))
        return series

    assert lengths(1, 6, 1 / 128) == [1, 4, 16, 64, 128, 128]
    assert lengths(128, 3, 0.5) == [128, 2, 2]
    assert lengths(2, 3, 30.0) == [2, 1, 1]
    assert lengths(1, 5, 1e-5) == [1, 4, 16, 64, 256]


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(fitting.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def checkpoints(tmp_path, tiny_config):
    return Checkpoints(tmp_path, tiny_config)


def test_a_save_is_due_some_minutes_after_the_last(clock, checkpoints, monkeypatch):
    monkeypatch.setattr(Position, "save", lambda *_: None)
    saver = Saver(checkpoints, 2, lambda: False)
    clock[0] = 119
    assert saver.due() == Due(save=False, stop=False)
    clock[0] = 120
    assert saver.due() == Due(save=True, stop=False)
    saver.save(Position(None))
    assert saver.due() == Due(save=False, stop=False)


def test_an_interrupted_process_saves_and_stops(clock, checkpoints):
    assert Saver(checkpoints, 2, lambda: True).due() == Due(save=True, stop=True)


@pytest.mark.parametrize(
    ("by_process", "expected"),
    [
        ([[False, False], [False, True]], Due(save=True, stop=True)),
        ([[True, False], [False, False]], Due(save=True, stop=False)),
        ([[False, False], [True, False]], Due(save=False, stop=False)),
    ],
)
def test_one_process_stops_all_and_the_first_has_the_clock(clock, checkpoints, monkeypatch, by_process, expected):
    monkeypatch.setattr(fitting, "allgather", lambda _: np.array(by_process))
    assert Saver(checkpoints, 2, lambda: False).due() == expected
