"""Pictures depend on no setting of the user's, and cost no result."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure

from seadlif_jax import LeakyReadout, Network, RecurrentLayer, neurons, plots
from seadlif_jax.analysis.comparison import ComparedRun
from seadlif_jax.analysis.trained_parameters import NeuronParameter, neuron_parameters
from seadlif_jax.plots.style import picture
from tests.helpers import is_drawn

CONFUSION = np.array([[3, 1], [0, 4]])
SETTINGS = {
    "text.usetex": True,
    "font.family": "Nonexistent",
    "savefig.format": "pdf",
    "savefig.bbox": "tight",
    "axes.formatter.use_locale": True,
    "figure.dpi": 3,
    "image.cmap": "jet",
    "path.sketch": (1, 100, 2),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_picture_is_the_same_under_any_setting_of_the_user(tmp_path, setting):
    plots.save_confusion(CONFUSION, "a $title with \\frac", tmp_path / "before.png")
    with matplotlib.rc_context({setting: SETTINGS[setting]}):
        plots.save_confusion(CONFUSION, "a $title with \\frac", tmp_path / "after.png")
    assert is_drawn(tmp_path / "before.png")
    assert (tmp_path / "before.png").read_bytes() == (tmp_path / "after.png").read_bytes()


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, with the text in them as it is drawn."""
    saved = []

    def savefig(figure, path, **settings):
        original(figure, path, **settings)
        saved.append(figure)

    original = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


NAMES = ["cost_$5_to_$9", r"a$\foo$b", r"x^{$\frac$}", "one $", "a_^b"]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_run_is_drawn_as_it_is(tmp_path, figures, name):
    rows = [{"epoch": epoch, "validation_loss": 1.0, "validation_accuracy": 0.5} for epoch in (1, 2)]
    plots.save_comparison([ComparedRun(name, "accuracy", {}, rows, None)], tmp_path / "comparison.png")
    assert is_drawn(tmp_path / "comparison.png")
    for text in figures[0].axes[-1].get_legend().get_texts():
        assert is_math_text(text.get_text()) is False
        assert text.get_text().replace(r"\$", "$") == name


def test_powers_of_ten_along_a_logarithmic_axis_are_drawn_as_math(tmp_path, figures):
    norms = [10.0 ** -np.arange(8), 10.0 ** -np.arange(8)]
    plots.save_gradients(norms, np.arange(8) > 5, None, tmp_path / "gradients.png")
    labels = [label for label in figures[0].axes[0].get_yticklabels() if "10^" in label.get_text()]
    assert labels
    assert all(label.get_parse_math() and is_math_text(label.get_text()) for label in labels)


@pytest.mark.parametrize("backend", ["module://a_notebook_elsewhere", "nonsense", "TkAgg", "pdf"])
def test_pictures_need_no_backend(backend):
    code = "from seadlif_jax import plots; import matplotlib.figure"
    environment = os.environ | {"MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "error", [RuntimeError("latex\nnot found"), OSError(28, "No space"), ValueError(), MemoryError()]
)
def test_a_picture_that_fails_is_a_warning(tmp_path, capsys, error):
    @picture
    def save(path):
        raise error

    save(tmp_path / "curves.png")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"warning: {tmp_path / 'curves.png'} could not be drawn (")


def test_an_interruption_is_raised():
    @picture
    def save(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save("curves.png")


def test_parameters_without_bounds_are_drawn(tmp_path):
    before, after = np.array([1.0, 2.0]), np.array([-3.0, 5.0])
    plots.save_parameters(
        [
            NeuronParameter(1, "omega", (0.0, np.inf), before, np.abs(after)),
            NeuronParameter(1, "log_dt", (-np.inf, np.inf), None, after),
        ],
        tmp_path / "parameters.png",
    )
    assert is_drawn(tmp_path / "parameters.png")


@pytest.mark.usefixtures("as_for_users")  # a namespace stands for the trained model
def test_a_parameter_named_like_a_position_in_a_range_needs_no_range():
    class Own(neurons.LIF):
        def parameters(self):
            return {"k_w": (0.0, 1.0), **super().parameters()}

    network = Network((RecurrentLayer(3, Own()),), LeakyReadout(2))
    variables = network.init(jax.random.key(0), jnp.ones((1, 1, 4)))
    model = SimpleNamespace(network=network, variables=variables)
    found = {parameter.name: parameter for parameter in neuron_parameters(model, initial=False)}
    np.testing.assert_array_equal(found["k_w"].after, variables["params"]["layers_0"]["k_w"])
    assert found["tau_u"].after.min() >= 5
