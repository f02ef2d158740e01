import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.analysis.forecast_error import cut_windows, squared_errors
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.inference.trained_model import run_network
from seadlif_jax.neurons import LSTM
from seadlif_jax.nn import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.tasks import Forecast


def test_errors_are_means_over_samples_and_channels():
    """Two samples of three steps and two channels; fed back from step ceil(3 / 2) = 2 on."""
    targets = jnp.array(
        [[[9.0, 9.0], [1.0, 3.0], [2.0, 0.0], [0.0, 4.0]], [[9.0, 9.0], [1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]]
    )
    samples = Samples(targets[:, :-1], targets, jnp.array([[0, 1, 1], [1, 1, 1]]))
    zero = jax.jit(squared_errors)(jnp.zeros((2, 3, 2)), samples)
    np.testing.assert_allclose(zero.steps, [(1 + 9 + 1 + 1) / 4, 4 / 4, (16 + 4 + 4) / 4])
    assert float(zero.second_half) == pytest.approx(6.0)
    one = squared_errors(jnp.ones((2, 3, 2)), samples)
    np.testing.assert_allclose(one.steps, [4 / 4, (1 + 1 + 1 + 1) / 4, (1 + 9 + 1 + 1) / 4])
    assert float(one.second_half) == pytest.approx(3.0)


def test_masked_steps_do_not_count_in_the_error_of_the_second_half():
    targets = jnp.arange(6.0).reshape(1, 6, 1)
    samples = Samples(targets[:, :-1], targets, jnp.array([[0, 0, 0, 0, 1]]))
    zero = squared_errors(jnp.zeros((1, 5, 1)), samples)
    np.testing.assert_allclose(zero.steps, [1, 4, 9, 16, 25])
    assert float(zero.second_half) == 25.0


def test_windows_hold_the_predictions_of_25_ms():
    """Predictions of 10, 20, ... 60 ms."""
    windows = cut_windows(6, 10.0)
    assert windows.unit == "ms"
    np.testing.assert_array_equal(windows.edges, [0, 25, 50, 75])
    np.testing.assert_array_equal(windows.of_step, [0, 0, 1, 1, 1, 2])
    np.testing.assert_allclose(windows.mean(jnp.array([1.0, 3.0, 6.0, 6.0, 9.0, 5.0])), [2.0, 7.0, 5.0])


def test_half_a_second_at_402_hz_is_20_windows_cut_where_the_feedback_starts():
    windows = cut_windows(200, 1000 / 402)
    np.testing.assert_array_equal(windows.of_step, np.repeat(np.arange(20), 10))
    np.testing.assert_array_equal(windows.edges, 25.0 * np.arange(21))


def test_windows_are_of_10_steps_where_steps_stand_for_no_time():
    windows = cut_windows(25, None)
    assert windows.unit == "steps"
    np.testing.assert_array_equal(windows.edges, [0, 10, 20, 30])
    np.testing.assert_array_equal(np.bincount(windows.of_step), [10, 10, 5])


@pytest.mark.parametrize("step_ms", [0.1, 0.7, 2.5, 24.9, 25.0, 40.0])
def test_no_window_is_empty_and_every_end_belongs_to_its_window(step_ms):
    windows = cut_windows(1000, step_ms)
    assert (np.bincount(windows.of_step) > 0).all()
    assert len(windows.edges) == windows.of_step[-1] + 2
    time = step_ms * np.arange(1, 1001)
    assert (windows.edges[windows.of_step] < time).all()
    assert (time <= windows.edges[windows.of_step + 1] + 1e-6).all()


def test_predictions_do_not_see_the_second_half(x64):
    network = Network(layers=(RecurrentLayer(6, LSTM()),), readout=LeakyReadout(3))
    inputs = jax.random.normal(jax.random.key(1), (2, 9, 3))
    variables = jax.jit(network.init)(jax.random.key(0), inputs)
    outputs = run_network(network, Forecast(), variables, inputs)
    assert outputs.shape == inputs.shape
    np.testing.assert_array_equal(outputs, run_network(network, Forecast(), variables, inputs.at[:, 5:].set(7.0)))
    assert not np.array_equal(outputs, run_network(network, Forecast(), variables, inputs.at[:, 4:].set(7.0)))
