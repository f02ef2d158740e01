"""A task of one's own, by the class that a config names."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from examples import own_task
from seadlif_jax import load_run
from seadlif_jax.build import build_task, find_task
from seadlif_jax.cli import main
from seadlif_jax.config import ConfigError
from seadlif_jax.inference import evaluate, open_run
from seadlif_jax.inference.evaluation import measure
from seadlif_jax.tasks import Classification, Selection
from seadlif_jax.training import fit
from seadlif_jax.utils.errors import SeadlifError
from tests.helpers import ROOT

pytestmark = pytest.mark.usefixtures("without_pictures")
SHORT = ("--config.num_epochs=2", "--config.model.hidden=(8,)", "--config.compute.engine=xla")


@pytest.fixture
def config():
    config = own_task.get_config().unlock()
    config.task, config.data.loader = "examples.own_task:Regression", "examples.own_task:load"
    config.num_epochs, config.compute.engine = 1, "xla"
    config.model.hidden = (8,)
    return config.lock()


def test_it_is_found_beside_the_config_and_again_from_anywhere(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "examples/own_task.py", tmp_path / "own_task.py")
    monkeypatch.chdir(ROOT)
    run = tmp_path / "run"
    main(["train", f"--config={tmp_path / 'own_task.py'}", *SHORT, f"--workdir={run}"])
    assert "test absolute_error" in capsys.readouterr().out
    trained = load_run(run)
    assert trained.config.task_dir == str(tmp_path)
    assert type(trained.task).__name__ == "Regression"
    assert not trained.classifies
    with pytest.raises(ValueError, match="not trained for classification"):
        trained.predict(np.zeros((1, 50, 20)))


def test_its_metric_selects_and_is_reported(config, tmp_path, capsys):
    result = fit(config, tmp_path / "run")
    assert result["test"]["absolute_error"] > 0
    main(["evaluate", f"--workdir={tmp_path / 'run'}"])
    printed = capsys.readouterr().out
    assert f"absolute_error {result['test']['absolute_error']:.4f}" in printed
    assert f"loss {result['test']['loss']:.4f}" in printed
    main(["inspect", f"--workdir={tmp_path / 'run'}"])


def test_its_sums_leave_out_samples_without_steps():
    config = own_task.get_config()
    with config.unlocked():
        config.task = "examples.own_task:Regression"
    task = build_task(config)
    block_index = jnp.array([[0, 1, 1], [1, 1, 1], [0, 0, 0]])
    outputs = jnp.array([[9.0, 0.2, 0.4], [0.1, 0.1, 0.1], [5.0, 5.0, 5.0]])[..., None]
    sums = task.sums(outputs, block_index, jnp.array([[0.5], [0.1], [0.0]]))
    assert float(sums.mean_score()) == pytest.approx(0.1)  # of 0.2 and 0
    assert float(sums.mean_loss()) == pytest.approx(0.02)


@dataclasses.dataclass(frozen=True)
class Prepared(own_task.Regression):
    """Takes the numbers of events in hundredths, and scales the loss by the number of the update."""

    def prepare(self, batch):
        return batch._replace(inputs=batch.inputs / 100)

    def training_sums(self, outputs, block_index, targets, label_smoothing, update):
        sums = self.sums(outputs, block_index, targets)
        return sums._replace(loss=jnp.float32(update + 1) * sums.loss_terms)


def test_it_prepares_all_batches_and_knows_the_number_of_the_update(config, tmp_path):
    with config.unlocked():
        config.task, config.num_epochs = f"{__name__}:Prepared", 2
        config.model.rate_bounds, config.model.rate_penalty = (0.0, 0.5), 1.0
    result = fit(config, tmp_path / "run")
    rows = np.genfromtxt(tmp_path / "run" / "metrics.csv", delimiter=",", names=True)
    steps = 300 // 32
    np.testing.assert_allclose(
        rows["train_loss"], [np.arange(1, steps + 1).mean(), steps + np.arange(1, steps + 1).mean()]
    )
    assert result["test"]["spike_rate_1"] < 1e-3  # of inputs so small


@dataclasses.dataclass(frozen=True)
class Centred(Classification):
    """Takes the numbers of events without one."""

    def prepare(self, batch):
        return batch._replace(inputs=batch.inputs - 1.0)


def test_evaluation_of_a_kind_of_classification_prepares_its_batches(tiny_config, tmp_path):
    tiny_config.task, tiny_config.num_epochs = f"{__name__}:Centred", 2
    result = fit(tiny_config, tmp_path / "run")
    model, dataset = open_run(tmp_path / "run", {})
    assert evaluate(model, dataset.test).loss == pytest.approx(result["test"]["loss"], rel=1e-5)
    assert measure(model, dataset.test)["accuracy"] == pytest.approx(result["test"]["accuracy"])


def test_another_version_of_its_module_does_not_continue_a_run(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "examples/own_task.py", tmp_path / "own_task.py")
    arguments = ["train", f"--config={tmp_path / 'own_task.py'}", *SHORT, f"--workdir={tmp_path / 'run'}"]
    main(arguments)
    with (tmp_path / "own_task.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(SystemExit, match=r"config\.task_checksum"):
        main(arguments)
    load_run(tmp_path / "run")
    assert "warning: the module of config.task = 'own_task:Regression' has changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "examples.own_task:Regresion"}, "module examples.own_task has no Regresion"),
        ({"task": "no_such_module:Task"}, "no module no_such_module in .*set config.task_dir to its folder"),
        ({"task": "examples.own_task:load"}, "must be a subclass of seadlif_jax.tasks.Task"),
        ({"task": "regression"}, "one of classification, forecast, or module:Class of your own"),
        ({"task": "classification"}, "config.loss.scale: unknown field"),
        ({"loss.scale": -1.0}, r"config.loss.scale = -1.0: it must be above 0"),
        ({"loss.scael": 1.0}, "config.loss.scael: unknown field; did you mean config.loss.scale?"),
        ({"optimizer.label_smoothing": 0.1}, "config.optimizer.label_smoothing: for classification only"),
        ({"data.class_weights": (1.0,)}, "config.data.class_weights = .*for classification only"),
    ],
)
def test_a_mistake_is_an_error_before_training(fields, message, config, tmp_path):
    with config.unlocked():
        for name, value in fields.items():
            section, _, field = name.rpartition(".")
            (config[section] if section else config)[field] = value
    with pytest.raises(ConfigError, match=message):
        fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_field_that_is_missing_is_named(config):
    with config.unlocked():
        del config.loss.scale
    with pytest.raises(ConfigError, match=r"config\.loss\.scale: missing"):
        build_task(config)


def test_a_module_that_cannot_be_imported_is_named(config, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_like_this")
    with config.unlocked():
        config.task, config.task_dir = "broken:Task", str(tmp_path)
    with pytest.raises(SeadlifError, match=r"config\.task = 'broken:Task': importing its module failed"):
        find_task(config)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('Selection("absolute_error"', 'Selection("mae"', "Regression.selection names 'mae'; it must be loss, abs"),
        ('curves = ("loss", "absolute_error")', 'curves = ("loss", "mae")', "Regression.curves names 'mae'"),
        (
            'metric = "absolute_error"',
            'metric = "mae"',
            "Regression.selection names 'absolute_error'; it must be loss, mae",
        ),
        ("    variable_length = True\n", "", "Regression has no variable_length"),
    ],
)
def test_a_fault_of_its_class_is_an_error_before_training(before, after, message, tmp_path):
    text = (ROOT / "examples/own_task.py").read_text()
    assert before in text
    (tmp_path / "own_task.py").write_text(text.replace(before, after))
    with pytest.raises(SystemExit, match=f"config.task: {message}"):
        main(["train", f"--config={tmp_path / 'own_task.py'}", *SHORT, f"--workdir={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()


class Chosen(own_task.Regression):
    """Attributes may be computed."""

    @property
    def selection(self):
        return Selection("spike_rate_1", -1)


def test_an_attribute_may_be_a_property(config, tmp_path):
    with config.unlocked():
        config.task = f"{__name__}:Chosen"
    assert fit(config, tmp_path / "run")["best_epoch"] == 1
