"""Every config with every variant trains, on data in the format of the real files; every task from the command line."""

import importlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from configs import bsd, ecg, oscillation, shd, smnist, ssc
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.training import fit
from tests.helpers import run
from tests.idx_files import write_mnist
from tests.recordings_file import write

REAL_DATA = os.environ.get("SEADLIF_DATA", "")
TINY = {
    "bsd": {"data.num_samples": 100, "batch_size": 16},
    "ecg": {"batch_size": 10},
    "shd": {"batch_size": 16},
    "ssc": {"batch_size": 16},
    "smnist": {"batch_size": 16},
    "oscillation": {"data.num_samples": 64, "data.num_steps": 40, "data.damping": (0.0, 5.0), "batch_size": 16},
}
PROTOCOLS = {
    "bsd": "best epoch on 10 % of the samples, generated for this",
    "ecg": "best epoch on 5 % of the training recordings, held out at random",
    "shd": "best epoch on 20 % of the training recordings, held out at random",
    "ssc": "best epoch on the official validation file",
    "smnist": "best epoch on 10 % of the training images, held out at random",
    "oscillation": "best epoch on 10 % of the trajectories, generated for this",
    "select_on_test": "best epoch on the test set itself, as the authors select it",
    "best": "last epoch, trained on all training recordings; validation is on 5 % of the training recordings",
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with files for all tasks; those of SHD and SSC are the spoken digits' mini files, where these are."""
    folder = tmp_path_factory.mktemp("datasets")
    rng = np.random.default_rng(0)
    (folder / "QTDB").mkdir()
    for split in ("train", "test"):
        arrays = {"x": rng.integers(-1, 2, (24, 40, 4)), "y": np.eye(6)[rng.integers(0, 6, (24, 40))]}
        scipy.io.savemat(folder / "QTDB" / f"QTDB_{split}.mat", arrays)
    mini = Path(REAL_DATA) / "spoken_digits_mini" / "SHD"
    for name, splits in (("shd", ("train", "test")), ("ssc", ("train", "valid", "test"))):
        for split in splits:
            path = folder / name.upper() / f"{name}_{split}.h5"
            path.parent.mkdir(exist_ok=True)
            if REAL_DATA:
                shutil.copy(mini / f"shd_{split if split != 'valid' else 'test'}.h5", path)
            else:
                write(path, recordings=40, classes=20)
    write_mnist(folder)
    return folder


def every_word_once():
    """Tasks and variants, each word of every choice in one of them; `test_configs` has all combinations."""
    for module in (bsd, ecg, oscillation, shd, smnist, ssc):
        first, *others = module.CHOICES.values()
        defaults = [words[0] for words in others]
        for neuron in first:
            yield module.__name__.removeprefix("configs."), ",".join((neuron, *defaults))
        for number, words in enumerate(others):
            for word in words[1:]:
                yield (
                    module.__name__.removeprefix("configs."),
                    ",".join((first[0], *defaults[:number], word, *defaults[number + 1 :])),
                )


def check(folder, task, variant):
    """What a run of two epochs has left."""
    assert len(MetricsLog(folder / "metrics.csv").read()) == 2
    written = json.loads((folder / "result.json").read_text())
    score = "mse" if task == "oscillation" else "accuracy"
    config = written["config"]["model"]
    layers = 0 if config["neuron"] == "lstm" else len(config["hidden"])
    rates = {f"spike_rate_{layer}" for layer in range(1, layers + 1)}
    assert set(written["test"]) == set(written["validation"]) == {"loss", score} | rates
    protocol = next((PROTOCOLS[word] for word in ("select_on_test", "best") if word in variant), PROTOCOLS[task])
    assert written["protocol"] == protocol


def is_default(task, variant):
    return variant == next(variant for other, variant in every_word_once() if other == task)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "variant"), [pair for pair in every_word_once() if not is_default(*pair)])
def test_every_variant_trains(tmp_path, data_dir, task, variant):
    config = importlib.import_module(f"configs.{task}").get_config(variant)
    with config.unlocked():
        config.num_epochs = 2
        config.model.hidden = (8,) * len(config.model.hidden)
        if task not in ("bsd", "oscillation"):
            config.data.dir = str(data_dir)
        if task in ("shd", "ssc"):
            config.data.cache_dir = str(data_dir / "cache")
        config.update_from_flattened_dict(TINY[task])
    fit(config, tmp_path)
    check(tmp_path, task, variant)


@pytest.mark.parametrize(
    "task", ["bsd", "ecg", "shd", "oscillation", "smnist", pytest.param("ssc", marks=pytest.mark.slow)]
)
def test_every_task_trains_from_the_command_line(tmp_path, data_dir, task):
    files = {} if task in ("bsd", "oscillation") else {"data.dir": data_dir}
    if task in ("shd", "ssc"):
        files["data.cache_dir"] = data_dir / "cache"
    fields = TINY[task] | files | {"model.hidden": (8,), "num_epochs": 2}
    result = run(
        f"--config=configs/{task}.py",
        *(f"--config.{name}={value}" for name, value in fields.items()),
        f"--workdir={tmp_path}",
    )
    assert result.returncode == 0, result.stderr
    assert "results and pictures:" in result.stdout
    check(tmp_path, task, "")
    pictures = {"raster.png"}
    if task == "oscillation":
        pictures = {"forecast.png", "forecast_error.png", "forecast_error.csv"}
    assert {"curves.png", *pictures} <= {path.name for path in tmp_path.iterdir()}


def test_the_example_of_own_data_trains(tmp_path):
    result = run("--config=examples/own_data.py", f"--workdir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "result.json").read_text())["test"]["accuracy"] > 0.9
