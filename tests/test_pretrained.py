"""Trained networks that come with the library."""

import importlib.resources
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from seadlif_jax import load_pretrained
from seadlif_jax.inference import evaluate
from seadlif_jax.pretrained import NAMES, model_card
from seadlif_jax.utils.errors import SeadlifError
from tests.helpers import ROOT

NOTEBOOK = ROOT / "docs" / "pretrained.ipynb"


@pytest.mark.parametrize("name", NAMES)
def test_a_network_runs_and_says_what_it_is(name):
    model, card = load_pretrained(name), model_card(name)
    inputs = np.random.default_rng(0).binomial(1, 0.1, (2, 50, model.num_channels))
    outputs, states = model.trace(inputs)
    assert np.isfinite(outputs).all()
    assert all(state.z.mean() > 0 for state in states)
    assert {"data", "licence", "protocol", "seed", "test accuracy", "command"} <= card.keys()


def test_the_network_for_bursts_has_the_accuracy_of_its_card():
    model = load_pretrained("bsd")
    accuracy = evaluate(model, model.dataset().test).accuracy
    assert accuracy == pytest.approx(float(model_card("bsd")["test accuracy"]), abs=0.003)


def test_another_name_is_refused():
    with pytest.raises(SeadlifError, match="there is no pretrained network 'shd'; there are 'bsd' and 'ecg'"):
        load_pretrained("shd")


def test_the_files_are_small_and_name_no_folder():
    folder = importlib.resources.files("seadlif_jax.pretrained")
    for name in NAMES:
        assert len((folder / f"{name}.npz").read_bytes()) < 100_000
        config = json.loads((folder / f"{name}.json").read_text())["config"]
        assert not config["data"]["dir"]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    code = f"import os\nos.chdir({str(tmp_path)!r})\n" + code.replace(
        "model.dataset()", f"model.dataset(loader_dir={str(ROOT)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "inside.png").exists()
    assert (tmp_path / "firmware" / "int8" / "network.c").exists()
    assert [cell["outputs"] for cell in cells if cell["cell_type"] == "code" if cell["outputs"]] == []
