"""`seadlif import`, on checkpoints as the authors' program leaves them."""

import json
import runpy
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import fit, load_run, plots
from seadlif_jax import losses as readout
from seadlif_jax.analysis.comparison import comparison_table, read_runs
from seadlif_jax.analysis.trained_parameters import neuron_parameters
from seadlif_jax.cli import main
from seadlif_jax.interop.lightning import read_reference_checkpoint
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder, read_config
from tests.helpers import ROOT
from tests.torch_files import Tensor, foreign, lightning, save, tensor

CASES = ("se_2l_mean", "lif_2l_mean_norec", "lstm_autoreg", "ef_1l_perstep")
OWN_CONFIG = """
from seadlif_jax.config import base_config
def get_config(variant=""):
    config = base_config().unlock()
    config.data.loader = "of_my_own:load"
    config.data.num_classes = 4
    return config.lock()
"""
TRAINING = {"random_seed": 42, "n_epochs": 20, "logdir": "./results", "exp_name": "a test"}
DATASETS = {
    "shd": {
        "_target_": "datasets.shd.SHDLDM", "data_path": "${datadir}", "spatial_factor": 0.2, "time_factor": 0.001,
        "pad_to_min_size": 250, "window_size": 4, "batch_size": 256, "num_workers": 8, "num_classes": 20,
        "validate_on": 0.2, "ignore_first_timesteps": 10,
    },
    "ecg": {
        "_target_": "datasets.ecg.ECGLDM", "data_path": "${datadir}", "batch_size": 64, "num_workers": 8,
        "num_classes": 6, "valid_fraction": 0.05, "random_seed": 42,
    },
    "bsd": {
        "_target_": "datasets.bsd.BSDLDM", "batch_size": 16, "S": 200, "n_channels": 10, "num_classes": 4,
        "n_common_channels": 3, "t": 20, "dt": 0.1, "spike_prob_min": 0.05, "spike_prob_max": 0.8, "val_split": 0.1,
        "test_split": 0.2, "num_sample_per_epoch": 60, "sampling_freq": 1000,
    },
    "oscillation": {
        "_target_": "datasets.oscillation.OscilatorTask", "n_dof": 4, "mass_range": [1, 1],
        "spring_range": [500, 10000], "damping_range": [0, 0], "max_freq": 200, "duration": 0.5,
        "num_sample": 64, "batch_size": 16,
        "num_classes": "${dataset.n_dof}", "random_initial_velocity": False, "mask_first_n_percent": 0.0,
    },
}  # fmt: skip
DATASETS["ssc"] = DATASETS["shd"] | {"_target_": "datasets.ssc.SSCLDM", "num_classes": 35, "pad_to_min_size": 300}
del DATASETS["ssc"]["validate_on"]


@pytest.fixture(autouse=True)
def _in_a_clone(monkeypatch):
    monkeypatch.chdir(ROOT)


def golden(case):
    with np.load(ROOT / "tests" / "golden" / f"{case}.npz") as file:
        arrays = {name.removeprefix("param/"): array for name, array in file.items() if name.startswith("param/")}
        return arrays, json.loads(str(file["config_json"])) | TRAINING, dict(file)


def model(channels=10, classes=4, width=5, cell="se_adlif"):
    """Parameters and settings of one hidden layer, as the authors' program names them."""
    rng = np.random.default_rng(0)
    arrays = {
        "l1.weight": rng.normal(size=(width, channels)), "l1.bias": rng.normal(size=width),
        "l1.recurrent": rng.normal(size=(width, width)), "l1.a": rng.random(width), "l1.b": rng.random(width),
        "l1.tau_u_trainer.weight": rng.random(width), "l1.tau_w_trainer.weight": rng.random(width),
        "out_layer.weight": rng.normal(size=(classes, width)), "out_layer.bias": rng.normal(size=classes),
        "out_layer.tau_u_trainer.weight": np.full(classes, 15.0),
    }  # fmt: skip
    settings = TRAINING | {
        "cell": cell, "n_neurons": width, "two_layers": False, "input_size": width, "q": 120, "alpha": 5, "c": 0.4,
        "tau_u_range": [5, 25], "tau_w_range": [60, 300], "tau_out_range": [15, 15], "dropout": 0.15,
        "loss_agg": "softmax", "lr": 0.01, "factor": 0.9, "patience": 9999, "datadir": "./data",
    }  # fmt: skip
    return {name: array.astype(np.float32) for name, array in arrays.items()}, settings


def checkpoint_of(path, task, **changes):
    classes = {"shd": 20, "ssc": 35, "ecg": 6}.get(task, 4)
    arrays, settings = model({"shd": 140, "ssc": 140, "bsd": 10}.get(task, 4), classes)
    return save(path, lightning(arrays, settings | {"dataset": DATASETS[task]} | changes))


@pytest.mark.parametrize("case", CASES)
def test_the_imported_network_has_the_outputs_of_the_authors_program(tmp_path, x64, case):
    arrays, settings, file = golden(case)
    path = save(tmp_path / "model.ckpt", lightning(arrays, settings))
    (tmp_path / "own.py").write_text(OWN_CONFIG.replace("classes = 4", f"classes = {len(arrays['out_layer.bias'])}"))
    main(["import", str(path), f"--workdir={tmp_path / 'run'}", f"--config={tmp_path / 'own.py'}"])
    trained = load_run(tmp_path / "run")
    outputs = trained.outputs(file["inputs"])
    np.testing.assert_allclose(outputs, file["outputs"], rtol=0, atol=1e-12 * np.abs(file["outputs"]).max())
    if trained.classifies:
        targets, block_index = file["targets"], jnp.asarray(file["block_idx"])
        how = trained.config.model.aggregation
        blocks = readout.aggregate(jnp.asarray(outputs), block_index, targets.shape[1] - 1, how)
        np.testing.assert_allclose(blocks.reshape(-1, blocks.shape[-1]), file["block_outputs"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("task", sorted(DATASETS))
def test_the_config_is_that_of_the_checkpoint(tmp_path, task):
    path = checkpoint_of(tmp_path / "model.ckpt", task, lr=0.005, n_epochs=33, c=0.25)
    main(["import", str(path), f"--workdir={tmp_path / 'run'}"])
    config = read_config(tmp_path / "run")
    assert config.data.loader == f"data.{task}:load"
    assert (config.num_epochs, config.seed, config.optimizer.learning_rate) == (33, 42, 0.005)
    assert (config.model.surrogate.c, config.model.dropout, tuple(config.model.hidden)) == (0.25, 0.15, (5,))
    assert (config.optimizer.plateau_factor, config.batch_size) == (1.0, DATASETS[task]["batch_size"])
    expected = {
        "shd": {"step_ms": 4.0, "pad_to": 250, "num_channels": 140, "validation": "held_out", "num_classes": 20},
        "ssc": {"pad_to": 300, "num_classes": 35, "validation": "official", "ignore_first_steps": 10},
        "ecg": {"validation_fraction": 0.05, "num_classes": 6},
        "bsd": {"num_samples": 60, "num_classes": 4},
        "oscillation": {"num_samples": 64, "num_masses": 4, "spring": (500, 10_000)},
    }
    assert {name: config.data[name] for name in expected[task]} == expected[task]


def test_float16_and_bfloat16_parameters_become_float32(tmp_path):
    arrays, settings = model()
    for dtype in ("float16", jnp.bfloat16):
        folder = tmp_path / str(np.dtype(dtype))
        cast = {name: array.astype(dtype) for name, array in arrays.items()}
        path = save(tmp_path / "model.ckpt", lightning(cast, settings | {"dataset": DATASETS["bsd"]}))
        main(["import", str(path), f"--workdir={folder}"])
        leaves = jax.tree.leaves(load_run(folder).variables)
        assert {str(leaf.dtype) for leaf in leaves} == {"float32"}


def test_an_imported_run_is_tested_inspected_and_compared_and_says_where_it_is_from(tmp_path, capsys, monkeypatch):
    path, folder = checkpoint_of(tmp_path / "model.ckpt", "bsd"), tmp_path / "run"
    main(["import", str(path), f"--workdir={folder}"])
    printed = capsys.readouterr()
    assert "model.ckpt: se_adlif, 5 neurons, epoch 12" in printed.out
    assert "warning: the data are generated, here from other random numbers" in printed.err

    origin = RunFolder(folder, read_config(folder)).origin()
    assert (origin["file"], origin["epoch"], origin["settings"]["lr"]) == ("model.ckpt", 12, 0.01)
    trained = load_run(folder)
    dataset = trained.dataset()
    assert trained.predict(dataset.test.inputs).shape == (12,)

    parameters = neuron_parameters(trained, initial=False)
    assert [parameter.before for parameter in parameters] == [None] * 4
    np.testing.assert_allclose(parameters[0].after, 5 + 20 * model()[0]["l1.tau_u_trainer.weight"], rtol=1e-6)
    plots.save_parameters(parameters, tmp_path / "parameters.png")

    table = comparison_table(read_runs([folder]))
    assert (table["epochs"], table["test_accuracy"]) == ([0], [None])
    assert not (folder / "result.json").exists()
    assert not (folder / "metrics.csv").exists()


def test_training_does_not_go_on_from_an_imported_network(tmp_path):
    path, folder = checkpoint_of(tmp_path / "model.ckpt", "bsd"), tmp_path / "run"
    main(["import", str(path), f"--workdir={folder}"])
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match=r"imported from model\.ckpt, whose training cannot be continued; choose"):
        fit(read_config(folder), folder)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def change_array(name, change):
    def changed(content):
        content["state_dict"][name] = change(content["state_dict"].get(name))

    return changed


def settings_changed(**changes):
    def changed(content):
        arrays, settings = model()
        content |= lightning(arrays, settings | {"dataset": DATASETS["bsd"]} | changes)

    return changed


def dataset_changed(**changes):
    return settings_changed(dataset=DATASETS["bsd"] | changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.clear(), "not a checkpoint of the authors' program: there is no state_dict"),
        (lambda content: content.pop("hyper_parameters"), 'hyper_parameters["cfg"], the settings, is missing'),
        (lambda content: content.update(hyper_parameters={"lr": 1}), 'hyper_parameters["cfg"], the settings, is'),
        (
            change_array("l1.threshold", lambda _: tensor(np.ones(5))),
            "'l1.threshold' is not a parameter of the reference program",
        ),
        (change_array("l1.bias", lambda _: foreign("torch", "Tensor")()), "l1.bias is not stored as a plain tensor"),
        (change_array("l1.bias", lambda _: tensor(np.full(5, np.nan))), "l1.bias holds NaN or infinite values"),
        (change_array("l1.a", lambda _: tensor(np.ones(4))), "do not fit the settings"),
        (change_array("conv.weight", lambda _: tensor(np.ones(4))), "'conv.weight' is not a parameter"),
        (settings_changed(cell="gru"), "setting cell is 'gru'; it must be one of"),
        (settings_changed(thr=0.5), "setting thr, the firing threshold, is 0.5; it must be 1"),
        (settings_changed(lr="${oc.env:RATE}"), "cfg.lr is '${oc.env:RATE}'; it must be a real number"),
        (settings_changed(lr="${lr}"), "cfg.lr is '${lr}'; it must be a real number"),
        (settings_changed(n_epochs=2.5), "cfg.n_epochs is 2.5; it must be a whole number"),
        (settings_changed(lr=-1.0), "config.optimizer.learning_rate = -1.0: it must be a number above 0"),
        (settings_changed(tau_u_range=[5]), "setting tau_u_range is [5]; it must be two numbers"),
        (settings_changed(dataset={}), "none of datasets.bsd, datasets.ecg"),
        (dataset_changed(_target_="datasets.mnist.MNIST"), "pass --config=FILE, a config that names their loader"),
        (dataset_changed(S=100), "cfg.dataset.S is 100; the data here have 200: pass --config=FILE"),
        (dataset_changed(jitter=3), "cfg.dataset.jitter = 3 is not known here"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_refused_in_one_line_and_leaves_nothing(tmp_path, change, message):
    arrays, settings = model()
    content = lightning(arrays, settings | {"dataset": DATASETS["bsd"]})
    change(content)
    path = save(tmp_path / "model.ckpt", content)
    with pytest.raises(SystemExit) as caught:
        main(["import", str(path), f"--workdir={tmp_path / 'run'}"])
    assert str(caught.value).startswith("error: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("missing", ["cell", "tau_u_range", "n_epochs", "lr", "patience", "dropout"])
def test_a_missing_setting_is_named(tmp_path, missing):
    arrays, settings = model()
    del settings[missing]
    path = save(tmp_path / "model.ckpt", lightning(arrays, settings | {"dataset": DATASETS["bsd"]}))
    with pytest.raises(SystemExit, match=f"{missing}.* missing"):
        main(["import", str(path), f"--workdir={tmp_path / 'run'}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imprt"], "'imprt' is not a command of seadlif; did you mean import?"),
        (["import"], "required: checkpoint, --workdir"),
        (["import", "none.ckpt", "--workdir=run"], "No such file or directory: 'none.ckpt'"),
        (["import", "{path}", "--workdir={folder}", "--config=none.py"], "there is no none.py here"),
        (["import", "{path}", "--workdir={folder}", "--config=configs/shd.py"], "config.data.num_classes = 20"),
        (["import", "{path}", "--workdir={folder}", "--config=configs/bsd.py:slow"], "unknown variant 'slow'"),
        (["import", "{path}", "--workdir={path}"], "is a file; choose a folder"),
        (["import", "{path}", "--workdir=https://host/run"], "must be a folder or file of this machine"),
        (["import", "{path}", "--workdir={used}"], "holds notes.txt but no config.json"),
    ],
)  # fmt: skip
def test_a_command_line_that_cannot_be_run_gets_one_line(tmp_path, arguments, message):
    path = checkpoint_of(tmp_path / "model.ckpt", "bsd")
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").touch()
    with pytest.raises(SystemExit) as caught:
        main([argument.format(path=path, folder=tmp_path / "run", used=used) for argument in arguments])
    assert str(caught.value).startswith("error: ")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_left_alone(tmp_path):
    path, folder = checkpoint_of(tmp_path / "model.ckpt", "bsd"), tmp_path / "run"
    main(["import", str(path), f"--workdir={folder}"])
    with pytest.raises(SystemExit, match="holds a run already; choose another --workdir"):
        main(["import", str(path), f"--workdir={folder}"])


def test_outside_of_a_clone_it_is_said_what_to_give(tmp_path, monkeypatch):
    path = checkpoint_of(tmp_path / "model.ckpt", "bsd")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"there is no configs/bsd\.py here; run this in a clone"):
        main(["import", str(path), "--workdir=run"])


def test_settings_may_refer_to_each_other_and_be_plain_dictionaries(tmp_path):
    arrays, settings = model()
    settings |= {"dataset": DATASETS["oscillation"], "input_size": "${dataset.num_classes}"}
    content = lightning(arrays, settings)
    assert read_reference_checkpoint(save(tmp_path / "a.ckpt", content)).settings["input_size"] == 4
    content["hyper_parameters"]["cfg"] = settings
    assert read_reference_checkpoint(save(tmp_path / "b.ckpt", content)).settings["dataset"]["num_classes"] == 4


def test_the_module_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["seadlif", "--help"])
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("seadlif_jax.cli.protect_output", lambda: None)
    runpy.run_module("seadlif_jax", run_name="__main__")
    assert "make a run of a checkpoint of the authors' PyTorch program" in capsys.readouterr().out


def test_shared_storage_gives_each_parameter_its_own_numbers(tmp_path):
    arrays, settings = model()
    content = lightning(arrays, settings | {"dataset": DATASETS["bsd"]})
    whole = tensor(np.stack([arrays["l1.a"], arrays["l1.b"]]).astype(np.float32))
    content["state_dict"]["l1.a"] = Tensor(whole.storage, 0, (5,), (1,))
    content["state_dict"]["l1.b"] = Tensor(whole.storage, 5, (5,), (1,))
    loaded = read_reference_checkpoint(save(tmp_path / "model.ckpt", content)).arrays
    np.testing.assert_array_equal(loaded["l1.a"], arrays["l1.a"])
    np.testing.assert_array_equal(loaded["l1.b"], arrays["l1.b"])
