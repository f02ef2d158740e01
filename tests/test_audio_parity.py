"""A small autoencoder against the authors' program, in float64: outputs, losses, metric and gradients.

Their time constants are trained as `alpha = alpha_min + sigmoid(k) (alpha_max - alpha_min)`, and their initial and
reset potentials as they are; both are converted to our parameters, and the gradients go back through the conversion.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.audio import Compression
from seadlif_jax.audio.a_law import expected_sound, level_of
from seadlif_jax.audio.quality import si_snr
from seadlif_jax.audio.spectrum import spectral_distance
from seadlif_jax.neurons import LIF, EFAdLIF, SEAdLIF, Surrogate
from seadlif_jax.nn import LeakyReadout, Network, RecurrentLayer

FOLDER = Path(__file__).parent / "golden" / "audio"
NEURONS = {
    "se": SEAdLIF(tau_w=(30.0, 300.0), a=(0.0, 5.0), q=120.0, train_threshold=True, train_rest=True),
    "ef": EFAdLIF(tau_w=(30.0, 300.0), a=(0.0, 1.0), q=20.0, train_threshold=True, train_rest=True),
    "lif": LIF(surrogate=Surrogate(c=0.2), train_threshold=True, train_rest=True),
}
LAYERS = ("encoder.l1", "encoder.l2", "decoder.l1", "decoder.l2")
TAU_OUT, WIDTH, BOTTLENECK, LEVELS = (1.0, 10.0), 12, 4, 32
DELAY, SKIP, WINDOWS, NUM_MELS, SAMPLE_RATE, TEMPERATURE = 20, 30, (32, 64, 128), 12, 8000.0, 2.5


def position(k, tau):
    """Where in the range `tau` the time constant of their `k` lies."""
    low, high = (jnp.exp(-1 / limit) for limit in tau)
    alpha = low + jax.nn.sigmoid(k) * (high - low)
    return (-1 / jnp.log(alpha) - tau[0]) / (tau[1] - tau[0])


def converted(theirs, neuron):
    """Our parameters from those of the authors' program."""
    params = {}
    for index, name in enumerate(LAYERS):
        of_layer = {key.removeprefix(f"{name}."): value for key, value in theirs.items() if key.startswith(f"{name}.")}
        params[f"layers_{index}"] = ours = {
            "kernel": of_layer["weight"].T,
            "bias": of_layer["bias"],
            "threshold": of_layer["thr"],
            "k_rest": of_layer["u0"] / of_layer["thr"],
            "k_u": position(of_layer["tau_u_trainer.weight"], neuron.tau_u),
        }
        if "recurrent" in of_layer:
            ours["recurrent_kernel"] = of_layer["recurrent"].T
        if "a" in of_layer:
            ours |= {"a": of_layer["a"], "b": of_layer["b"]}
            ours["k_w"] = position(of_layer["tau_w_trainer.weight"], neuron.tau_w)
    readout = {key.removeprefix("decoder.out_layer."): value for key, value in theirs.items() if "out_layer" in key}
    params["readout"] = {
        "kernel": readout["weight"].T,
        "bias": readout["bias"],
        "k_u": position(readout["tau_u_trainer.weight"], TAU_OUT),
    }
    return params


class Case:
    def __init__(self, kind):
        with np.load(FOLDER / f"{kind}.npz") as file:
            arrays = {name: jnp.asarray(array) for name, array in file.items()}
        self.neuron, self.arrays = NEURONS[kind], arrays
        self.theirs = {name[6:]: array for name, array in arrays.items() if name.startswith("param/")}
        self.gradients = {name[5:]: array for name, array in arrays.items() if name.startswith("grad/")}
        self.network = Network(
            layers=tuple(
                RecurrentLayer(WIDTH, self.neuron, recurrent=index > 0, num_outputs=BOTTLENECK if index == 1 else None)
                for index in range(4)
            ),
            readout=LeakyReadout(LEVELS, TAU_OUT, train_tau=True),
        )
        self.task = Compression(
            LEVELS, 1.0, WINDOWS, NUM_MELS, SAMPLE_RATE, SKIP, (TEMPERATURE, TEMPERATURE), 1.0, 0, 1
        )
        self.block_index = jnp.broadcast_to(jnp.arange(arrays["inputs"].shape[1]) >= SKIP, arrays["inputs"].shape)

    def outputs(self, theirs):
        variables = {"params": converted(theirs, self.neuron)}
        return self.network.apply(variables, self.arrays["inputs"][..., None])

    def loss(self, theirs):
        targets = self.arrays["targets"][..., None]
        sums = self.task.training_sums(self.outputs(theirs), self.block_index, targets, None, jnp.asarray(0))
        return sums.mean_loss()


@pytest.fixture(params=NEURONS)
def case(request, x64):
    return Case(request.param)


def test_outputs_and_spikes_are_those_of_the_authors_program(case):
    np.testing.assert_allclose(case.outputs(case.theirs), case.arrays["outputs"], rtol=1e-9, atol=1e-10)
    variables = {"params": converted(case.theirs, case.neuron)}
    _, states = case.network.apply(variables, case.arrays["inputs"][..., None], method="trace")
    np.testing.assert_array_equal(states[1].z[..., :BOTTLENECK], case.arrays["bottleneck"])
    assert 0.01 < float(case.arrays["bottleneck"].mean()) < 0.9


def test_the_parts_of_the_loss_are_those_of_the_authors_program(case):
    outputs, target = case.arrays["outputs"][:, SKIP:], case.arrays["targets"][:, SKIP:]
    cross_entropy = -jnp.take_along_axis(jax.nn.log_softmax(outputs), level_of(target, LEVELS)[..., None], -1).mean()
    np.testing.assert_allclose(cross_entropy, case.arrays["cross_entropy"], rtol=1e-9)
    restored = expected_sound(outputs, TEMPERATURE)
    distance = spectral_distance(restored, target, WINDOWS, NUM_MELS, SAMPLE_RATE).mean()
    np.testing.assert_allclose(distance, case.arrays["spectral"], rtol=1e-6)  # their filters are in float32
    np.testing.assert_allclose(
        case.loss(case.theirs), case.arrays["cross_entropy"] + case.arrays["spectral"], rtol=1e-6
    )


def test_restored_sound_and_its_quality_are_those_of_the_authors_program(case):
    outputs, target = case.arrays["outputs"][:, SKIP:], case.arrays["targets"][:, SKIP:]
    np.testing.assert_allclose(expected_sound(outputs, TEMPERATURE), case.arrays["sound"], rtol=1e-6, atol=1e-9)
    quality = si_snr(expected_sound(outputs), target, jnp.ones(target.shape, bool))
    np.testing.assert_allclose(quality, case.arrays["si_snr"], rtol=1e-5)


def test_gradients_are_those_of_the_authors_program(case):
    gradients = jax.grad(case.loss)(case.theirs)
    assert gradients.keys() == case.gradients.keys()
    for name, expected in case.gradients.items():
        scale = np.abs(expected).max()
        assert scale > 0, name
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-5, atol=1e-5 * scale, err_msg=name)
