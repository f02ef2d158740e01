"""Networks as C code, in floating and in fixed point."""

import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.device import DeviceError, device_layers, quantize, write_c
from seadlif_jax.neurons import BRF, LIF, EFAdLIF, SEAdLIF
from seadlif_jax.nn import BatchNorm, LeakyReadout, Network, RecurrentLayer
from seadlif_jax.nn.scan import scan_states
from tests.helpers import seadlif

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
SAMPLES, STEPS, CHANNELS = 3, 100, 7
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build(neuron, sizes=(9, 8), recurrent=True, **settings):
    """A network whose neurons spike, its variables, and counts of events."""
    layers = tuple(RecurrentLayer(size, neuron, recurrent, **settings) for size in sizes)
    network = Network(layers, LeakyReadout(4, tau=(3.0, 15.0)))
    inputs = np.random.default_rng(0).poisson(0.5, (SAMPLES, STEPS, CHANNELS))
    variables = network.init(jax.random.key(1), jnp.asarray(inputs))
    for index in range(len(sizes)):
        params = variables["params"][f"layers_{index}"]
        params["kernel"] = 6 * params["kernel"] if index == 0 else 40 * jnp.abs(params["kernel"])
        params["bias"] += jnp.linspace(-0.3, 0.9, len(params["bias"]))
    return network, variables, inputs


def compiled(layers, folder, *flags):
    size = write_c(layers, folder, "A network of a test.")
    command = ["cc", *STRICT, *flags, "network.c", "main.c", "-o", "network"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not result.returncode, result.stderr
    return size


def run_c(folder, lines, *mode):
    result = subprocess.run(
        ["./network", *mode], cwd=folder, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False
    )
    assert not result.returncode, result.stderr
    return np.array([list(map(float, line.split())) for line in result.stdout.splitlines()])


def steps(sample):
    return [" ".join(map(str, step)) for step in sample]


def events(sample):
    return [" ".join(str(c) for c, count in enumerate(step) for _ in range(count)) for step in sample]


CASES = [
    (LIF(), (9, 8), True),
    (EFAdLIF(q=20.0), (9, 8), True),
    (SEAdLIF(q=20.0), (9, 8), True),
    (SEAdLIF(q=20.0), (9,), False),
    (EFAdLIF(q=20.0), (5, 6, 7), False),
    (LIF(train_threshold=True), (9,), True),
]


@needs_compiler
@pytest.mark.parametrize(("neuron", "sizes", "recurrent"), CASES)
def test_c_in_double_precision_is_the_network_in_float64(neuron, sizes, recurrent, tmp_path):
    network, variables, inputs = build(neuron, sizes, recurrent)
    compiled(device_layers(network, variables), tmp_path, "-Dfloat=double", *SANITIZED)
    layers = jax.tree.map(np.asarray, network.apply(variables, CHANNELS, method="as_layers"))  # as rounded in the code
    with jax.enable_x64(True):
        *hidden, readout = jax.tree.map(lambda array: jnp.asarray(array, jnp.float64), layers)
        x = jnp.asarray(inputs).swapaxes(0, 1)
        for layer in hidden:
            states = scan_states(layer, x)
            x = states.output
            assert 0.01 < x.mean() < 0.9
        outputs = np.asarray(scan_states(readout, x).output)
    for sample, expected in zip(inputs, outputs.swapaxes(0, 1), strict=True):
        np.testing.assert_allclose(run_c(tmp_path, steps(sample)), expected, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(run_c(tmp_path, events(sample), "events"), expected, rtol=1e-8, atol=1e-9)


@needs_compiler
@pytest.mark.parametrize(("neuron", "sizes", "recurrent"), CASES)
def test_c_in_fixed_point_is_the_simulation_bit_for_bit(neuron, sizes, recurrent, tmp_path):
    network, variables, inputs = build(neuron, sizes, recurrent)
    fixed_point = quantize(device_layers(network, variables))
    compiled(fixed_point, tmp_path, *SANITIZED)
    signed = inputs * np.random.default_rng(1).choice([-1, 1], inputs.shape)
    outputs, spikes = fixed_point.run(inputs)
    assert all(0.01 < z.mean() < 0.9 for z in spikes)
    for sample, expected in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(run_c(tmp_path, steps(sample)), expected)
        np.testing.assert_array_equal(run_c(tmp_path, events(sample), "events"), expected)
    for sample, expected in zip(signed, fixed_point.run(signed)[0], strict=True):
        np.testing.assert_array_equal(run_c(tmp_path, steps(sample)), expected)


@needs_compiler
def test_fixed_point_saturates_alike(tmp_path):
    """Weights and inputs near the ends of their ranges: potentials go beyond 32 bits, and are cut."""
    network, variables, _ = build(SEAdLIF(q=1000.0), (6,))
    variables["params"]["layers_0"]["kernel"] *= 300
    inputs = np.random.default_rng(0).integers(-(2**15) + 1, 2**15, (SAMPLES, STEPS, CHANNELS))
    fixed_point = quantize(device_layers(network, variables))
    compiled(fixed_point, tmp_path, *SANITIZED)
    for sample, expected in zip(inputs, fixed_point.run(inputs)[0], strict=True):
        np.testing.assert_array_equal(run_c(tmp_path, steps(sample)), expected)


def test_fixed_point_is_near_floating_point():
    network, variables, inputs = build(LIF(), (9,), False)
    outputs, spikes = quantize(device_layers(network, variables)).outputs_and_spikes(inputs)
    expected, states = network.apply(variables, jnp.asarray(inputs), method="trace")
    assert np.mean(spikes[0] != np.asarray(states[0].z)) < 0.02
    assert np.abs(outputs - expected).mean() < 0.05 * np.abs(expected).mean()


@needs_compiler
def test_sizes_are_those_of_the_compiled_code(tmp_path):
    network, variables, _ = build(EFAdLIF())
    for name, layers in (
        ("float", device_layers(network, variables)),
        ("int8", quantize(device_layers(network, variables))),
    ):
        folder = tmp_path / name
        folder.mkdir()
        size = compiled(layers, folder)
        (folder / "size.c").write_text('#include "network.h"\nint main(void) { return sizeof(network_state) % 256; }\n')
        subprocess.run(["cc", "size.c", "-o", "size"], cwd=folder, check=True)
        assert subprocess.run(["./size"], cwd=folder, check=False).returncode == size.state % 256
        assert size.weights == sum(
            array.nbytes
            for layer in getattr(layers, "layers", layers)
            for array in layer
            if isinstance(array, np.ndarray)
        )


def test_normalised_layers_have_the_weights_in_use(tmp_path):
    network, variables, inputs = build(LIF(), batch_norm=BatchNorm())
    _, updated = network.apply(variables, jnp.asarray(inputs), mutable=["batch_stats"])
    kernel = device_layers(network, variables | updated)[0].kernel
    ratio = kernel / variables["params"]["layers_0"]["kernel"]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-5)
    assert not np.allclose(ratio, 1)


@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        (BRF(), "BRF neurons have no code for devices; the neurons that have: LIF, EFAdLIF, SEAdLIF"),
        (LIF(train_rest=True), "trained resting potentials have no code for devices"),
    ],
)
def test_what_has_no_code_is_refused(neuron, message):
    network, variables, _ = build(neuron)
    with pytest.raises(DeviceError, match=message):
        device_layers(network, variables)


def test_a_network_that_has_diverged_is_refused():
    network, variables, _ = build(LIF())
    variables["params"]["readout"]["kernel"] *= jnp.nan
    with pytest.raises(DeviceError, match="layer 3 has values that are NaN or infinite"):
        device_layers(network, variables)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.full((1, 2, CHANNELS), 0.5), "must be whole numbers"),
        (np.full((1, 2, CHANNELS), 2**15), "below 32768"),
        (np.full((1, 2, CHANNELS), np.nan), "must be whole numbers"),
    ],
)
def test_inputs_that_are_not_for_fixed_point_are_refused(inputs, message):
    network, variables, _ = build(LIF())
    with pytest.raises(DeviceError, match=message):
        quantize(device_layers(network, variables)).run(inputs)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_the_command_leaves_code_that_passes_its_test_vector(dtype, finished_run, tmp_path):
    found = seadlif(
        "export", "--workdir", finished_run, "--format=c", f"--dtype={dtype}", "--output_dir", tmp_path / "out"
    )
    assert not found.returncode, found.stderr
    assert "weights" in found.stdout
    assert "code" in found.stdout
    command = ["cc", *STRICT, "-O2", "network.c", "main.c", "-o", "network"]
    subprocess.run(command, cwd=tmp_path / "out", check=True)
    vector = (tmp_path / "out" / "test_vector.txt").read_text().splitlines()
    check = subprocess.run(
        ["./network", "check"],
        cwd=tmp_path / "out",
        input="\n".join(vector),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check.returncode, check.stdout
    wrong = [*vector[:-1], vector[-1].rsplit(" ", 1)[0] + " 12345"]
    again = subprocess.run(
        ["./network", "check"],
        cwd=tmp_path / "out",
        input="\n".join(wrong),
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1


def test_a_network_in_int8_is_evaluated(finished_run, tmp_path):
    found = seadlif("evaluate", "--workdir", finished_run, "--quantize=int8", "--output_dir", tmp_path)
    assert not found.returncode, found.stderr
    assert "test int8 accuracy" in found.stdout
    assert (tmp_path / "test_int8_classes.csv").exists()
