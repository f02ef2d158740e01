"""Networks as C code, in floating and in fixed point."""

import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import load_pretrained
from seadlif_jax.device import DeviceError, DeviceLayer, device_layers, quantize, write_c
from seadlif_jax.inference import evaluate
from seadlif_jax.neurons import BRF, LIF, EFAdLIF, SEAdLIF
from seadlif_jax.nn import BatchNorm, LeakyReadout, Network, RecurrentLayer
from seadlif_jax.nn.scan import scan_states
from tests.helpers import ROOT, seadlif

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
    size = write_c(layers, folder, ["A network of a test, with */ in its description"])
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
    compiled(device_layers(network, variables), tmp_path, "-DNETWORK_DOUBLE", *SANITIZED)
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
        (BRF(), "BRF neurons cannot be exported; those that can are LIF, EFAdLIF and SEAdLIF"),
        (LIF(train_rest=True), "trained resting potentials cannot be exported"),
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
    assert "200 steps" in check.stdout
    last = vector[-1].rsplit(" ", 1)[0]
    for wrong in ([*vector[:-1], f"{last} 12345"], [*vector[:-1], f"{last} nan"], None):
        text = "" if wrong is None else "\n".join(wrong)
        failed = subprocess.run(
            ["./network", "check"], cwd=tmp_path / "out", input=text, capture_output=True, text=True, check=False
        )
        assert failed.returncode == 1


@needs_compiler
@pytest.mark.parametrize(
    ("mode", "text", "message"),
    [
        ("what", "", "what is none of steps, events and check"),
        ("steps", "1 2 3 4 5 6 7\n1 2\n", "step 2: there are more or fewer numbers"),
        ("steps", "1 2 3 4 5 6 x\n", "step 1: there is something that is no number"),
        ("steps", "1 2 3 4 5 6 1e9\n", "step 1: an input is out of range"),
        ("steps", "1 2 3 4 5 6 nan\n", "step 1: an input is out of range"),
        ("steps", "1 2 3 4 5 6 0.5\n", "step 1: in fixed point, inputs are whole numbers"),
        ("events", "0 7\n", "step 1: a number is none of a channel"),
        ("events", "0.5\n", "step 1: a number is none of a channel"),
        ("steps", "1 " * 200_000, "step 1: the line is too long"),
    ],
)
def test_the_example_refuses_other_input(mode, text, message, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "example"
    if not folder.exists():
        folder.mkdir()
        network, variables, _ = build(LIF(), (3,))
        compiled(quantize(device_layers(network, variables)), folder, *SANITIZED)
    found = subprocess.run(["./network", mode], cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert message in found.stderr


@needs_compiler
def test_two_networks_with_names_of_their_own_are_linked(tmp_path):
    network, variables, _ = build(LIF(), (3,))
    layers = device_layers(network, variables)
    write_c(layers, tmp_path, name="beat")
    write_c(quantize(layers), tmp_path, name="burst_2")
    (tmp_path / "both.c").write_text(
        '#include "beat.h"\n#include "burst_2.h"\n'
        "int main(void) { static beat_state s; static burst_2_state t; beat_reset(&s); burst_2_reset(&t);"
        " return BEAT_CHANNELS - BURST_2_CHANNELS; }\n"
    )
    subprocess.run(["cc", *STRICT, "beat.c", "burst_2.c", "both.c", "-o", "both"], cwd=tmp_path, check=True)
    assert subprocess.run(["./both"], cwd=tmp_path, check=False).returncode == 0
    with pytest.raises(DeviceError, match="name 'a b': it must be small letters"):
        write_c(layers, tmp_path, name="a b")


def test_an_example_of_ones_own_is_not_overwritten(tmp_path):
    network, variables, _ = build(LIF(), (3,))
    (tmp_path / "main.c").write_text("/* mine */")
    write_c(device_layers(network, variables), tmp_path)
    assert (tmp_path / "main.c").read_text() == "/* mine */"


def test_a_network_in_int8_is_evaluated(finished_run, tmp_path):
    found = seadlif("evaluate", "--workdir", finished_run, "--quantize=int8", "--output_dir", tmp_path)
    assert not found.returncode, found.stderr
    assert "test int8 accuracy" in found.stdout
    assert (tmp_path / "test_int8_classes.csv").exists()


HARNESS = """
#include <stdio.h>
%s
int main(void)
{
    static network_input recording[200][NETWORK_CHANNELS];
    double number;
    long count = 0;
    while (scanf("%%lf", &number) == 1) {
        recording[count / NETWORK_CHANNELS][count %% NETWORK_CHANNELS] = (network_input)number;
        if (++count == 200 * NETWORK_CHANNELS) {
            printf("%%d\\n", classify(recording));
            count = 0;
        }
    }
    return 0;
}
"""


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_the_program_of_the_page_has_the_accuracy_of_the_evaluation(dtype, tmp_path):
    (program,) = re.findall(r"```c\n(.*?)```", (ROOT / "docs" / "on-a-device.md").read_text(), re.DOTALL)
    model = load_pretrained("bsd")
    model.export_c(tmp_path, dtype)
    (tmp_path / "main.c").write_text(HARNESS % program)
    command = ["cc", *STRICT, "-O2", *SANITIZED, "network.c", "main.c", "-o", "network"]
    subprocess.run(command, cwd=tmp_path, check=True)
    test = model.dataset().test
    predicted = run_c(tmp_path, [" ".join(map(str, recording.ravel())) for recording in test.inputs])[:, 0]
    accuracy = np.mean(predicted == test.targets[:, 1])
    fixed_point = quantize(device_layers(model.network, model.variables)) if dtype == "int8" else None
    # The sum over the steps is that of the outputs here, and of their softmax in training.
    assert accuracy == pytest.approx(evaluate(model, test, fixed_point=fixed_point).accuracy, abs=0.01)


@needs_compiler
@pytest.mark.parametrize("fixed", [False, True])
def test_a_readout_alone_is_a_network_too(fixed, tmp_path):
    network, variables, inputs = build(LIF(), ())
    layers = device_layers(network, variables)
    fixed_point = quantize(layers)
    compiled(fixed_point if fixed else layers, tmp_path, *SANITIZED)
    expected = fixed_point.run(inputs)[0] if fixed else network.apply(variables, jnp.asarray(inputs))
    for mode, lines in (((), steps), (("events",), events)):
        np.testing.assert_allclose(run_c(tmp_path, lines(inputs[0]), *mode), expected[0], rtol=1e-5, atol=1e-6)


@needs_compiler
def test_large_outputs_in_fixed_point_are_written_with_all_digits(tmp_path):
    layer = DeviceLayer("readout", np.eye(1), np.array([20000.25]), None, alpha=np.array([0.1]))
    fixed_point = quantize((layer,))
    compiled(fixed_point, tmp_path)
    inputs = np.zeros((1, 3, 1), int)
    np.testing.assert_array_equal(run_c(tmp_path, steps(inputs[0])), fixed_point.run(inputs)[0][0])


@pytest.mark.parametrize("name", ["main", "stdint", "string"])
def test_names_of_other_files_are_refused(name, tmp_path):
    (tmp_path / "main.c").write_text("/* mine */")
    network, variables, _ = build(LIF(), (3,))
    with pytest.raises(DeviceError, match=f"name '{name}': the file of this name is the example's, or a header of C"):
        write_c(device_layers(network, variables), tmp_path, name=name)
    assert (tmp_path / "main.c").read_text() == "/* mine */"


def test_code_of_nothing_or_for_nowhere_is_refused(tmp_path):
    with pytest.raises(DeviceError, match="there is no layer to write"):
        write_c((), tmp_path)
    network, variables, _ = build(LIF(), (3,))
    with pytest.raises(DeviceError, match="nowhere: there is no such folder"):
        write_c(device_layers(network, variables), tmp_path / "nowhere")


@pytest.mark.parametrize(("field", "name"), [("bias", "biases"), ("threshold", "thresholds")])
def test_values_beyond_the_range_of_fixed_point_are_refused(field, name):
    network, variables, _ = build(LIF(), (3,))
    hidden, readout = device_layers(network, variables)
    with pytest.raises(DeviceError, match=f"the largest of the {name}, 5e\\+04, is beyond the range of fixed point"):
        quantize((hidden._replace(**{field: np.full(3, 50000.0, np.float32)}), readout))


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, CHANNELS + 1), (1, 1, 2, CHANNELS)])
def test_inputs_of_another_shape_are_refused(shape):
    network, variables, _ = build(LIF())
    with pytest.raises(DeviceError, match=rf"they must be \[sample, time, {CHANNELS} channels\]"):
        quantize(device_layers(network, variables)).run(np.ones(shape, int))
