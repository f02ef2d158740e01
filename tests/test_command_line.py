"""The commands in this process: every mistake on a command line is one line, before anything is written."""

import contextlib
import signal
import subprocess
import sys

import pytest
from absl import flags, logging

from seadlif_jax.cli import COMMANDS, main
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.flags import parse_flags
from seadlif_jax.cli.train_command import default_workdir, loader_folders
from seadlif_jax.config import ConfigError, base_config
from seadlif_jax.utils.signals import Interrupted
from tests.helpers import QUICK, ROOT

OSCILLATION = "--config=configs/oscillation.py"


@pytest.fixture(autouse=True)
def _in_a_clone(monkeypatch):
    monkeypatch.chdir(ROOT)


def error_of(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(map(str, arguments)))
    text = str(caught.value)
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("form", ["--config.model.hidden=(8,)", "-config.model.hidden=(8,)", "--config.model.hidden"])
def test_a_field_given_twice_is_refused(form):
    """Tuples would be joined, other values replaced."""
    with pytest.raises(SystemExit, match=r"error: --config.model.hidden is given 2 times; give it once"):
        parse_flags(["train.py", "--config.model.hidden=(4,)", form, "--config.seed=1"])
    assert "config.model.hidden" not in flags.FLAGS


@pytest.mark.parametrize(
    ("lines", "variant", "message"),
    [
        ("config.data.units = 16", "", r"the config file sets 'units', which is no field .* call unlock\(\)"),
        (
            "config.optimizer.learning_rate = '0.1'",
            "",
            "the field learning_rate is set to 0.1, of type str; it must be of type f",
        ),
        ("return None", "", r"get_config\(\) of the file returned None; end it with `return config`"),
        ("pass", ":small", "the config file has no variants; leave out the colon"),
    ],
)
def test_mistakes_in_a_config_file_are_named(tmp_path, lines, variant, message):
    (tmp_path / "own.py").write_text(
        "from seadlif_jax.config import base_config\n"
        f"def get_config():\n    config = base_config()\n    {lines}\n    return config\n"
    )
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        main(["train", f"--config={tmp_path / 'own.py'}{variant}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--config is missing"),
        (("--config=configs/none.py",), "error: there is no config file configs/none.py"),
        (
            (QUICK, "--config.model.recurrent=(False,True)"),
            "config.model.recurrent = (False,True): on the command line",
        ),
        ((QUICK, "--config.model.q=(1.,2.)"), "error: config.model.q = (1.,2.): it must be a number"),
        (
            (QUICK, "--config.model.neuron=alif", "--config.sweep.neuron=('lif','alif')"),
            "config.sweep.neuron: config.model.neuron cannot be swept",
        ),
        (
            (QUICK, "--config.optimizer.learning_rate=0.1", "--config.sweep.optimizer.learning_rate=(0.1,)"),
            "config.sweep.optimizer.learning_rate: unknown field; did you mean config.sweep.learning_rate?",
        ),
        (("--config=configs/variants.py",), "no attribute 'get_config'"),
        (("--config=configs/bsd.py:qick",), "unknown variant 'qick'; known are neuron: se_adlif"),
        (("--config=configs/bsd.py:lif,ef_adlif",), "two values for neuron: lif and ef_adlif"),
        ((QUICK, "extra"), "'extra': not an option"),
        ((QUICK, "--workdr=x"), "Unknown command line flag 'workdr'. Did you mean: workdir"),
        ((QUICK, "--config.optimizer.learning_rat=1"), "did you mean config.optimizer.learning_rate?"),
        ((QUICK, "--config.optimizer.lr=1"), "config.optimizer.lr: unknown field; did you mean config.optimizer.lea"),
        ((QUICK, "--config.learning_rate=1"), "did you mean config.optimizer.learning_rate?"),
        ((QUICK, "--config.optimiser.learning_rate=1"), "did you mean config.optimizer.learning_rate?"),
        ((QUICK, "--config.data.num_sample=3"), "did you mean config.data.num_samples?"),
        ((QUICK, "--config.model.neuron.kind=lif"), "did you mean config.model.neuron?"),
        ((QUICK, "--config.seed=one"), "config.seed = one: it must be a whole number"),
        ((QUICK, "--config.seed=-1"), "config.seed = -1: it must be a whole number in 0.."),
        ((QUICK, "--config.num_epochs=2.5"), "config.num_epochs = 2.5: it must be a whole number"),
        ((QUICK, "--config.model.recurrent=7"), "config.model.recurrent = 7: on the command line, it must be True"),
        (
            (QUICK, "--config.model.neuron=alif", "--config.model.train_rest=True"),
            "config.model.train_rest = True: not a setting of alif neurons",
        ),
        (
            (QUICK, "--config.model.neuron=brf", "--config.model.dt=0.2"),
            "config.model: BRF: the initial omega of 5 to 10 is not within its bounds, 0 to 4.95",
        ),
        ((QUICK, "--config.model.neuron=adlif"), "config.model.neuron = 'adlif': it must be one of lif"),
        ((QUICK, "--config.model.tau_u=(-5.,25.)"), "config.model.tau_u = (-5.0, 25.0)"),
        ((QUICK, "--config.model.tau_w=(300.,60.)"), "config.model.tau_w = (300.0, 60.0)"),
        ((QUICK, "--config.model.hidden=()"), "config.model.hidden = ()"),
        ((QUICK, "--config.model.dropout=1.0"), "config.model.dropout = 1.0"),
        ((QUICK, "--config.optimizer.learning_rate=nan"), "config.optimizer.learning_rate = nan"),
        ((QUICK, "--process_id=0"), "--coordinator, --num_processes and --process_id require --distributed"),
        ((QUICK, "--num_processes=0"), "--num_processes"),
        ((QUICK, "--config.sweep.seed=(1,1)"), "config.sweep.seed = (1, 1): it must be a tuple of values"),
        ((QUICK, "--config.sweep.learning_rat=(1.,)"), "did you mean config.sweep.learning_rate?"),
        ((QUICK, "--config.devices.mesh=(3,)"), "config.devices.mesh = (3,): it must be two numbers of devices"),
        ((QUICK, "--config.data.loader=data.bsd:lod"), "config.data.loader = 'data.bsd:lod': module data.bsd has no"),
        ((QUICK, "--config.data.loader=nowhere:load"), "'nowhere:load': no module nowhere in"),
        (
            (QUICK, "--config.data.num_samples=5"),
            "config.data.num_samples = 5: it must be a whole number of at least 10",
        ),
        ((QUICK, "--config.data.validation=test"), "config.data.validation = 'test'"),
        ((QUICK, "--config.batch_size=5000"), "config.batch_size = 5000: the train split has only 2800 samples"),
        ((OSCILLATION, "--config.data.spring=(0,9)"), "config.data.spring = (0, 9): it must be a"),
        (("--config=configs/ecg.py", "--config.data.dir=nowhere"), "no nowhere/QTDB/QTDB_train.mat"),
    ],
)
def test_bad_input_of_train_is_one_line_and_leaves_nothing(tmp_path, arguments, message):
    assert message in error_of("train", *arguments, f"--workdir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate",), "required: --workdir; see seadlif evaluate --help"),
        (("evaluate", "--workdir={}"), "holds no run: there is no config.json"),
        (("evaluate", "--workdir=gs://bucket/run"), "must be a folder or file of this machine"),
        (("evaluate", "--workdir={}", "--shifts=0,x"), "'0,x' must be numbers joined by commas"),
        (("evaluate", "--workdir={}", "--shifts="), "'' must be numbers joined by commas"),
        (("evaluate", "--workdir={}", "--shifts=-0.1"), "level -0.1: it must be a number of events"),
        (("evaluate", "--workdir={}", "--draws=some"), "--draws: invalid int value: 'some'"),
        (("evaluate", "--workdir={}", "extra"), "unrecognized arguments: extra"),
        (("inspect",), "required: --workdir"),
        (("inspect", "--workdir={}/nowhere"), "nowhere holds no run: there is no config.json"),
        (("inspect", "--workdir=s3://bucket/run"), "must be a folder or file of this machine"),
        (("inspect", "--workdir={}", "--split=all"), "invalid choice: 'all'"),
        (("compare",), "no run is given; pass folders of runs"),
        (("compare", "{}/nowhere", "--output_dir={}"), "none of these folders holds a run with a finished epoch"),
        (("compare", "{}", "{}", "--output_dir={}"), "a run is given twice"),
        (("tran",), "'tran' is not a command of seadlif; did you mean train?"),
        (("frobnicate",), "the commands are train, evaluate, inspect, predict, compare, export, import"),
    ],
)
def test_bad_input_of_the_other_commands_is_one_line_and_leaves_nothing(tmp_path, arguments, message):
    assert message in error_of(*(argument.format(*[tmp_path] * 3) for argument in arguments))
    assert list(tmp_path.iterdir()) == []


def test_a_sample_out_of_range_is_one_line(finished_run):
    message = error_of("inspect", f"--workdir={finished_run}", "--sample=20")
    assert "--sample=20: the test split has samples 0..19" in message
    assert not (finished_run / "inspect").exists()


def test_the_help_lists_every_command_with_one_line(capsys):
    main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name in COMMANDS:
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert len(line.split()) > 4


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train", "--workdir"),
        ("evaluate", "--config.data.dir"),
        ("inspect", "--sample"),
        ("compare", "--output_dir"),
        ("import", "--config"),
    ],
)
def test_the_help_of_a_command_names_its_options(capsys, command, option):
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    assert option in capsys.readouterr().out


def test_without_a_workdir_the_folder_is_named_after_the_run():
    config = base_config()
    config.seed = 3
    assert str(default_workdir("configs/bsd.py:lif,quick", config)) == "runs/bsd-lif-quick-seed3"
    config.sweep.seed, config.sweep.q = (1, 2), (60.0, 120.0)
    assert str(default_workdir("configs/bsd.py", config)) == "runs/bsd-sweep-seed-q"


def test_the_loader_is_looked_for_beside_the_config_then_above_then_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert loader_folders("a/b/config.py:quick") == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]


def test_errors_of_the_user_are_one_line_and_others_are_not():
    with pytest.raises(SystemExit, match=r"^error: config\.seed = -1: wrong$"), errors_in_one_line(""):
        raise ConfigError("config.seed = -1: wrong")
    with (
        pytest.raises(SystemExit, match=r"matplotlib is not installed; pip install 'seadlif-jax.plots.'"),
        errors_in_one_line(""),
    ):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    with pytest.raises(ZeroDivisionError), errors_in_one_line(""):
        raise ZeroDivisionError


def test_signals_and_logs_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM), logging.get_verbosity(), sys.unraisablehook
    with errors_in_one_line(""):
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        assert logging.get_verbosity() == logging.FATAL
    assert (signal.getsignal(signal.SIGTERM), logging.get_verbosity(), sys.unraisablehook) == before


def test_the_help_of_a_study_names_its_flags():
    done = subprocess.run(
        [sys.executable, "-m", "studies.features", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "--output_dir" in done.stdout
