"""A neuron of the user's own in a file: its hyperparameters in configs and sweeps, and changes of the file."""

import shutil

import pytest

from seadlif_jax import load_run
from seadlif_jax.cli import main
from seadlif_jax.neurons import LIF, SEAdLIF
from tests.alif import ALIF
from tests.helpers import QUICK, ROOT, TINY

pytestmark = pytest.mark.usefixtures("without_pictures")
OWN = "--config.model.neuron=my_alif:ALIF"


@pytest.fixture
def folder(tmp_path):
    """A folder with the neuron of the documents, under a name of its own."""
    shutil.copy(ROOT / "examples/own_neuron.py", tmp_path / "my_alif.py")
    return tmp_path


def train(folder, *arguments):
    place = ("--config.num_epochs=1", f"--config.model.neuron_dir={folder}", f"--workdir={folder / 'run'}")
    main(["train", QUICK, *TINY, OWN, *place, *arguments])
    return folder / "run"


def test_its_hyperparameters_are_fields_on_the_command_line(folder):
    trained = load_run(train(folder, "--config.model.beta=4.5"))
    assert (trained.config.model.beta, trained.config.model.tau_a) == (4.5, (60.0, 300.0))
    assert trained.network.layers[0].neuron.beta == 4.5


def test_a_sweep_over_one_of_its_hyperparameters(folder):
    run = train(folder, "--config.sweep.beta=(2.0,8.0)")
    assert [load_run(run, member).config.model.beta for member in range(2)] == [2.0, 8.0]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.model.bete=1.0", "config.model.bete: unknown field; did you mean config.model.beta?"),
        ("--config.sweep.bete=(1.0,)", "config.sweep.bete: unknown field; did you mean config.sweep.beta?"),
        ("--config.sweep.beta=('a','b')", "config.sweep.beta = ('a', 'b'): it must be a tuple of values"),
        ("--config.sweep.tau_a=(5.0,6.0)", "config.sweep.tau_a = (5.0, 6.0): it must be a tuple of values"),
    ],
)
def test_a_mistake_in_them_is_an_error(folder, argument, message):
    with pytest.raises(SystemExit) as error:
        train(folder, argument)
    assert message in str(error.value)


def test_a_name_of_ours_for_another_kind_of_value_is_refused(folder):
    file = folder / "my_alif.py"
    file.write_text(file.read_text().replace("beta: float = 10.0", "beta: float = 10.0\n    b: float = 0.5"))
    with pytest.raises(SystemExit, match=r"config.model.b = \(0.0, 2.0\), but b of my_alif:ALIF is 0.5"):
        train(folder)


def test_a_change_of_its_file_does_not_pass_unnoticed(folder, capsys):
    run = train(folder)
    load_run(run)
    assert "has changed" not in capsys.readouterr().out
    file = folder / "my_alif.py"
    file.write_text(file.read_text().replace("u - 1 - self", "u - 2 - self"))
    load_run(run)
    assert "the module of config.model.neuron = 'my_alif:ALIF' has changed" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"neuron_checksum"):
        train(folder)


def test_a_threshold_is_drawn_only_where_it_is_constant():
    assert LIF(threshold=0.7).constant_threshold == 0.7
    assert SEAdLIF().constant_threshold == 1.0
    assert ALIF().constant_threshold is None
