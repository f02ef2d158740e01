"""A neuron of the user's own in a file: its hyperparameters in configs and sweeps, and changes of the file."""

import shutil

import jax.numpy as jnp
import pytest

from seadlif_jax import load_run, neurons
from seadlif_jax.cli import main
from seadlif_jax.neurons import BRF, LIF, EFAdLIF, RadLIF, SEAdLIF
from seadlif_jax.testing import check_neuron
from seadlif_jax.utils.errors import SeadlifError
from tests.alif import ALIF
from tests.helpers import QUICK, ROOT, TINY

pytestmark = pytest.mark.usefixtures("without_pictures")
OWN = "--config.model.neuron=my_neuron:DendriticLIF"


@pytest.fixture
def folder(tmp_path):
    """A folder with the neuron of the documents, under a name of its own."""
    shutil.copy(ROOT / "examples/own_neuron.py", tmp_path / "my_neuron.py")
    return tmp_path


def train(folder, *arguments):
    place = ("--config.num_epochs=1", f"--config.model.neuron_dir={folder}", f"--workdir={folder / 'run'}")
    main(["train", QUICK, *TINY, OWN, *place, *arguments])
    return folder / "run"


def test_its_hyperparameters_are_fields_on_the_command_line(folder):
    trained = load_run(train(folder, "--config.model.gain=4.5"))
    assert (trained.config.model.gain, trained.config.model.tau_d) == (4.5, (60.0, 300.0))
    assert trained.network.layers[0].neuron.gain == 4.5


def test_a_sweep_over_one_of_its_hyperparameters(folder):
    run = train(folder, "--config.sweep.gain=(2.0,8.0)")
    assert [load_run(run, member).config.model.gain for member in range(2)] == [2.0, 8.0]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.model.gian=1.0", "config.model.gian: unknown field; did you mean config.model.gain?"),
        ("--config.sweep.gian=(1.0,)", "config.sweep.gian: unknown field; did you mean config.sweep.gain?"),
        ("--config.sweep.gain=('a','b')", "config.sweep.gain = ('a', 'b'): it must be a tuple of values"),
        ("--config.sweep.tau_d=(5.0,6.0)", "config.sweep.tau_d = (5.0, 6.0): it must be a tuple of values"),
    ],
)
def test_a_mistake_in_them_is_an_error(folder, argument, message):
    with pytest.raises(SystemExit) as error:
        train(folder, argument)
    assert message in str(error.value)


def test_a_name_of_ours_for_another_kind_of_value_is_refused(folder):
    file = folder / "my_neuron.py"
    file.write_text(file.read_text().replace("gain: float = 2.0", "gain: float = 2.0\n    b: float = 0.5"))
    with pytest.raises(SystemExit, match=r"config.model.b = \(0.0, 2.0\), but b of my_neuron:DendriticLIF is 0.5"):
        train(folder)


def test_a_change_of_its_file_does_not_pass_unnoticed(folder, capsys):
    run = train(folder)
    load_run(run)
    assert "has changed" not in capsys.readouterr().out
    file = folder / "my_neuron.py"
    file.write_text(file.read_text().replace("self.surrogate(u - 1)", "self.surrogate(u - 2)"))
    load_run(run)
    assert "the module of config.model.neuron = 'my_neuron:DendriticLIF' has changed" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"neuron_checksum"):
        train(folder)


def test_a_threshold_is_drawn_only_where_it_is_constant():
    assert LIF(threshold=0.7).constant_threshold == 0.7
    assert SEAdLIF().constant_threshold == 1.0
    assert ALIF().constant_threshold is None


def test_its_numbers_are_those_of_its_class_and_not_of_the_config_file(folder):
    own = folder / "my_neuron.py"
    own.write_text(own.read_text().replace("tau_u: tuple = (5.0, 25.0)", "tau_u: tuple = (7.0, 9.0)"))
    model = load_run(train(folder)).config.model
    assert (model.tau_u, model.surrogate.c) == ((7.0, 9.0), 0.2)


def test_numbers_on_the_command_line_come_before_those_of_its_class(folder):
    model = load_run(train(folder, "--config.model.tau_u=(3.0,4.0)", "--config.model.surrogate.c=0.3")).config.model
    assert (model.tau_u, model.surrogate.c) == ((3.0, 4.0), 0.3)


class Halved:
    """A step for neurons that it is mixed into."""

    def step(self, coefficients, state, current):
        return super().step(coefficients, state, current / 2)


class HalvedLIF(Halved, LIF):
    pass


class EarlyLIF(LIF):
    def initial_state(self, shape):
        return super().initial_state(shape)._replace(u_hat=0.5 * jnp.ones(shape))


@pytest.mark.parametrize("neuron", [HalvedLIF(), EarlyLIF()])
def test_a_class_with_another_step_or_initial_state_gets_a_gradient_that_belongs_to_it(neuron):
    check_neuron(neuron)
    assert neuron.constant_threshold is None


def test_a_part_of_a_gradient_by_hand_is_refused():
    with pytest.raises(TypeError, match="Partial defines outputs without backward"):

        class Partial(LIF):
            def step(self, coefficients, state, current):
                return super().step(coefficients, state, current)

            def outputs(self, coefficients, replayed):
                return super().outputs(coefficients, replayed)


@pytest.mark.parametrize(
    "neuron",
    [
        neurons.ALIF(baseline=-0.1),
        BRF(theta=-1.0),
        RadLIF(threshold=-1.0),
        *(neuron(threshold=-1.0) for neuron in (LIF, EFAdLIF, SEAdLIF)),
    ],
)
def test_a_negative_threshold_is_refused(neuron):
    with pytest.raises(SeadlifError, match=r"= -.*, but a threshold must be at least 0"):
        neuron.named_parameters()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("(current + self", "(current - state.z.mean() + self", "step is not elementwise"),
        ("step(self, coefficients, state", "step(self, state, coefficients", r"step\(coefficients, .* fails \(.*Error"),
        ('"k_d": (0.0, 1.0)', "", r"coefficients\(params\) with the parameters k_u fails \(KeyError: 'k_d'"),
        ('"k_d": (', '"k_d": 0.5, "bias": (', "the parameter k_d is 0.5; it must be the pair"),
        ('"k_d": (', '"bias": (', "bias is the name of weights of a layer; rename the parameter"),
        ("    State = State\n", "", "the class has no State"),
        ("output = property(lambda self: self.z)", "", "the State has no property output"),
    ],
)
def test_a_fault_of_its_class_is_an_error_before_training(folder, before, after, message):
    file = folder / "my_neuron.py"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    with pytest.raises(SystemExit, match=f"config.model.*{message}"):
        train(folder)
    assert not (folder / "run").exists()


def test_a_class_of_a_similar_name_is_suggested(folder):
    file = folder / "my_neuron.py"
    file.write_text(file.read_text().replace("class DendriticLIF", "class DendriticLif"))
    with pytest.raises(SystemExit, match=r"module my_neuron has no DendriticLIF; did you mean DendriticLif\?"):
        train(folder)
