import jax
import jax.numpy as jnp
import numpy as np

from seadlif_jax import load_run
from seadlif_jax.analysis.gradients import gradient_norms
from seadlif_jax.analysis.trained_parameters import neuron_parameters
from seadlif_jax.data.on_device.samples import to_device
from seadlif_jax.losses import classification
from seadlif_jax.training.state import TrainingHyperparameters
from seadlif_jax.training.trainer import Trainer


def test_parameters_before_training_are_those_that_it_began_with(finished_run):
    trained = load_run(finished_run)
    parameters = neuron_parameters(trained)
    assert [(one.layer, one.name) for one in parameters] == [
        (layer, name) for layer in (1, 2) for name in ("tau_u", "tau_w", "a", "b")
    ]
    config, train = trained.config, to_device(trained.dataset().train)
    begin = jax.jit(Trainer(config).init)(config.seed, TrainingHyperparameters.from_config(config), train).variables[
        "params"
    ]
    for one in parameters:
        low, high = one.bounds
        for params, values in ((begin, one.before), (trained.variables["params"], one.after)):
            own = params[f"layers_{one.layer - 1}"]
            name = {"tau_u": "k_u", "tau_w": "k_w"}.get(one.name)
            expected = own[one.name] if name is None else low + (high - low) * own[name]
            np.testing.assert_allclose(values, expected, rtol=1e-6)
            assert low <= values.min() < values.max() <= high
        assert not np.allclose(one.before, one.after)


def test_gradients_are_those_of_the_loss(finished_run):
    """At the network's input, by differentiating all of it; and at each step's own."""
    trained = load_run(finished_run)
    samples = to_device(trained.dataset().test).take(jnp.arange(4))

    def loss(inputs):
        outputs = trained.network.apply(trained.variables, inputs)
        return classification(outputs, samples.block_index, samples.targets, "softmax").mean_loss()

    gradient = jax.jit(jax.grad(loss))(samples.inputs.astype(float))
    norms = gradient_norms(trained, samples)
    assert [norm.shape for norm in norms] == [(200,)] * 3
    np.testing.assert_allclose(norms[0], np.sqrt((gradient**2).sum(axis=(0, 2))), rtol=1e-4, atol=1e-9)
    assert norms[0].max() > 0
    # The readout alone, with a time constant of 15 steps, forgets at that rate before the steps that count.
    np.testing.assert_allclose(norms[2][100:150] / norms[2][101:151], np.exp(-1 / 15), rtol=1e-3)
