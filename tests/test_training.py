import csv
import json
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from data import bsd
from seadlif_jax import losses as readout
from seadlif_jax.analysis import forecast_error as forecast
from seadlif_jax.config import ConfigError
from seadlif_jax.data.dataset import Dataset, Split
from seadlif_jax.data.loading import to_device
from seadlif_jax.inference.model import load_network
from seadlif_jax.parallel import mesh as devices
from seadlif_jax.runs.checkpoint import Checkpoints
from seadlif_jax.runs.folder import MetricsLog, Run, RunError
from seadlif_jax.training import fit as training
from seadlif_jax.training.divergence import DivergenceError
from seadlif_jax.training.fit import train_and_evaluate
from seadlif_jax.training.trainer import Program
from tests.helpers import is_drawn


def test_a_run_leaves_what_it_promises(tmp_path, tiny_config, capsys):
    tiny_config.seed = 4
    result = train_and_evaluate(tiny_config, tmp_path)

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

    monkeypatch.setattr(devices, "of_all_processes", with_another_validation_split)
    with pytest.raises(RunError, match="process 1 has another validation split than process 0"):
        train_and_evaluate(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_run_again(tmp_path, tiny_config, monkeypatch):
    result = train_and_evaluate(tiny_config, tmp_path)
    monkeypatch.setattr(training, "load_dataset", None)
    assert train_and_evaluate(tiny_config, tmp_path) == result


@pytest.mark.parametrize("neuron", ["lif", "ef_adlif", "lstm"])
def test_every_neuron_can_be_trained(tmp_path, tiny_config, neuron):
    tiny_config.model.neuron = neuron
    tiny_config.model.dropout = 0.1
    tiny_config.model.hidden = (8, 6)
    tiny_config.num_epochs = 1
    assert train_and_evaluate(tiny_config, tmp_path)["best_epoch"] == 1


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
    train_and_evaluate(tiny_config, tmp_path)
    assert (tmp_path / "raster.png").exists()


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
    tiny_config.data.num_classes = 2
    tiny_config.data.step_ms = step_ms
    tiny_config.model.aggregation = "forecast"
    result = train_and_evaluate(tiny_config, tmp_path)

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
    errors = forecast.errors(forecast.predict(network, variables, jnp.asarray(split.inputs)), to_device(split))
    assert float(errors.second_half) == pytest.approx(result["test"]["mse"], rel=1e-5)


def test_a_bad_config_is_refused_before_anything_is_made(tmp_path, tiny_config):
    tiny_config.model.tau_u = (25.0, 5.0)
    with pytest.raises(ConfigError, match=r"config.model.tau_u = \(25.0, 5.0\)"):
        train_and_evaluate(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_state(tmp_path, tiny_config, monkeypatch):
    """A loss turned NaN in epoch 3, as a diverging network's would."""
    original = Program.end_epoch

    def diverging(self, state, *args):
        state, metrics = original(self, state, *args)
        return state, metrics | {"train_loss": metrics["train_loss"] / (state.epoch < 3)}

    tiny_config.num_epochs = 5
    monkeypatch.setattr(Program, "end_epoch", diverging)
    with pytest.raises(DivergenceError, match=r"train_loss is inf in epoch 3. .* keeps the state before"):
        train_and_evaluate(tiny_config, tmp_path)
    assert (load_metadata(tmp_path)["epochs"], load_metadata(tmp_path)["step"]) == ([2], 0)
    assert len(MetricsLog(tmp_path / "metrics.csv").read()) == 2
    assert not (tmp_path / "result.json").exists()


def load_metadata(workdir):
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    return json.loads((newest / "metadata" / "metadata").read_text())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["before the row", "before the save", "during the save"])
def test_a_run_killed_at_any_moment_of_an_epoch_continues_to_the_same_numbers(
    tmp_path, tiny_config, monkeypatch, moment
):
    """With a plateau schedule, whose state must be restored too."""
    tiny_config.num_epochs = 6
    tiny_config.optimizer.plateau_factor = 0.5
    tiny_config.optimizer.learning_rate = 0.05
    whole = train_and_evaluate(tiny_config, tmp_path / "whole")

    save, append = Checkpoints.save, MetricsLog.append

    def killed_save(self, position):
        if position.states.epoch[0] == 4 and moment == "before the save":
            raise Killed
        save(self, position)
        if position.states.epoch[0] == 4:
            raise Killed

    def killed_append(self, rows):
        if rows[0]["epoch"] == 4 and moment == "before the row":
            raise Killed
        append(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", killed_save)
        patch.setattr(MetricsLog, "append", killed_append)
        with pytest.raises(Killed):
            train_and_evaluate(tiny_config, tmp_path / "killed")
    resumed = train_and_evaluate(tiny_config, tmp_path / "killed")

    assert resumed["test"] == whole["test"]
    assert resumed["validation"] == whole["validation"]
    rows = [MetricsLog(tmp_path / name / "metrics.csv").read() for name in ("whole", "killed")]
    for ours, theirs in zip(*rows, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    assert rows[0][-1]["learning_rate"] < 0.05


def test_a_run_is_not_continued_on_other_data(tmp_path, tiny_config, monkeypatch):
    load = training.load_dataset

    def other_data(config):
        dataset = load(config)
        return dataset._replace(validation=dataset.test)

    save = Checkpoints.save

    def killed_save(self, state):
        save(self, state)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", killed_save)
        with pytest.raises(Killed):
            train_and_evaluate(tiny_config, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(training, "load_dataset", other_data)
        with pytest.raises(RunError, match="a run on other data: the validation split has changed"):
            train_and_evaluate(tiny_config, tmp_path)
    assert train_and_evaluate(tiny_config, tmp_path)["test"]


def test_a_trained_network_can_be_loaded(tmp_path, tiny_config):
    result = train_and_evaluate(tiny_config, tmp_path)
    network, variables = load_network(tmp_path)
    test = to_device(bsd.load(tiny_config).test)
    batch = test.take(jnp.arange(test.size))
    sums = readout.classification(network.apply(variables, batch.inputs), batch.block_index, batch.targets, "softmax")
    assert float(sums.mean_loss()) == pytest.approx(result["test"]["loss"], rel=1e-5)


def test_a_folder_without_a_trained_network_is_refused(tmp_path, tiny_config):
    with pytest.raises(RunError, match="holds no run"):
        load_network(tmp_path)
    with Run(tmp_path, tiny_config).held(), pytest.raises(RunError, match="no checkpoint yet"):
        load_network(tmp_path)
    assert not (tmp_path / "checkpoints").exists()
