"""The native kernel: equal to XLA in float64, and one clear line where it cannot be used."""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data import bsd
from seadlif_jax import LeakyReadout, Network, RecurrentLayer, load_run, native
from seadlif_jax.losses import classification
from seadlif_jax.native import NativeError, compiler, kernels
from seadlif_jax.neurons import LIF, LSTM, SURROGATES, EFAdLIF, SEAdLIF, Surrogate
from seadlif_jax.nn import Execution
from seadlif_jax.nn.scan import scan_layers
from seadlif_jax.runs.errors import RunError
from seadlif_jax.training import fit
from seadlif_jax.training.divergence import DivergenceError
from seadlif_jax.utils.signals import Interrupted
from tests.alif import ALIF
from tests.test_gradient import arrays, assert_close, fixed, gradients, problems
from tests.test_reference_parity import CASES, Case, assert_trees_close
from tests.training_helpers import interrupt_at, rows_of

try:
    compiler.load_library("double")
    MISSING = ""
except NativeError as error:
    MISSING = str(error)

needs_compiler = pytest.mark.skipif(bool(MISSING), reason=MISSING)
NATIVE = Execution(engine="native")
NEURONS = (LIF, EFAdLIF, SEAdLIF)


@needs_compiler
@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(problems(NEURONS))
def test_it_equals_xla(problem):
    with jax.enable_x64(True):
        trained, inputs, cotangent = arrays(**problem)
        execution = Execution(chunk_mib=problem["chunk_mib"])
        gradient, spikes = gradients(problem, dataclasses.replace(execution, engine="native"))(
            trained, inputs, cotangent
        )
        expected, expected_spikes = gradients(problem, execution)(trained, inputs, cotangent)
        np.testing.assert_array_equal(spikes, expected_spikes)
        assert_close(gradient, expected, 1e-12)


@needs_compiler
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize(
    ("batch", "width", "channels", "rate"), [(70, 37, 20, 0.1), (2, 130, 33, 1.0), (65, 64, 1, 0.5), (3, 8, 16, 0.0)]
)
@pytest.mark.parametrize("threshold", [0.7, 0.0])
def test_it_equals_xla_for_layers_of_all_sizes(neuron, threshold, batch, width, channels, rate, x64):
    problem = (
        fixed(neuron)
        | {"threshold": threshold}
        | {"batch": batch, "width": width, "channels": channels, "counts": True, "num_steps": 9}
    )
    trained, inputs, cotangent = arrays(**problem)
    inputs = (jnp.asarray(np.random.default_rng(2).random(inputs.shape)) < rate).astype(jnp.uint8)
    gradient, spikes = gradients(problem, NATIVE)(trained, inputs, cotangent)
    expected, expected_spikes = gradients(problem, Execution())(trained, inputs, cotangent)
    np.testing.assert_array_equal(spikes, expected_spikes)
    assert_close(gradient, expected, 1e-12)


@needs_compiler
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "uint16", "int64", "float32", "float64"])
def test_it_takes_inputs_of_all_types(dtype, x64):
    inputs = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 8, 5)), dtype)
    layer = RecurrentLayer(6, execution=NATIVE)
    spikes, variables = layer.init_with_output(jax.random.key(0), inputs)
    np.testing.assert_array_equal(spikes, RecurrentLayer(6).apply(variables, inputs))


@needs_compiler
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_a_network_with_dropout_equals_xla(neuron, dtype, x64):
    inputs = jnp.asarray(np.random.default_rng(0).poisson(0.3, (70, 23, 9)), dtype)
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=(70, 23, 5)))
    variables = network(neuron(threshold=0.05), Execution()).init(jax.random.key(0), inputs)
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: 12 * x if path[-1].key == "kernel" else x, variables["params"]
    )
    expected, found = (
        jax.grad(weighted_sum(network(neuron(threshold=0.05), execution), variables, cotangent), argnums, has_aux=True)(
            params, inputs
        )
        for execution in (Execution(), NATIVE)
        for argnums in [(0, 1) if dtype == "float64" else 0]
    )
    for rates, expected_rates in zip(found[1], expected[1], strict=True):
        assert rates.mean() > 0.02
        np.testing.assert_allclose(rates, expected_rates, rtol=1e-12)
    assert_close(found[0], expected[0], 1e-12)


def network(neuron, execution):
    layers = [RecurrentLayer(width, neuron, width != 21, execution) for width in (37, 21, 130)]
    return Network(tuple(layers), LeakyReadout(5, (3.0, 9.0), train_tau=True), dropout=0.3)


def weighted_sum(network, variables, cotangent):
    def function(params, inputs):
        trained = variables | {"params": params}
        with_dropout = network.apply(trained, inputs, jax.random.key(3))
        outputs, rates = network.apply(trained, inputs, return_activity=True)
        return jnp.sum((with_dropout + outputs) * cotangent) + sum(jnp.sum(rate**2) for rate in rates), rates

    return function


@needs_compiler
def test_the_number_of_threads_changes_no_spike(x64, monkeypatch):
    problem = fixed(SEAdLIF) | {"batch": 70, "width": 37, "channels": 20, "counts": True}
    arguments = arrays(**problem)
    results = []
    for cores in (1, 3, 200):
        monkeypatch.setattr(kernels, "available_cores", lambda cores=cores: cores * jax.local_device_count())
        results.append(gradients(problem, NATIVE)(*arguments))
    for gradient, spikes in results[1:]:
        np.testing.assert_array_equal(spikes, results[0][1])
        assert_close(gradient, results[0][0], 1e-12)


@needs_compiler
def test_higher_derivatives_are_refused():
    layer = RecurrentLayer(4, execution=NATIVE)
    inputs = jnp.ones((2, 5, 3))
    params = layer.init(jax.random.key(0), inputs)

    def loss(params):
        return layer.apply(params, inputs).sum()

    with pytest.raises(NotImplementedError, match="higher derivatives of recurrent layers"):
        jax.hessian(loss)(params)
    with pytest.raises(NotImplementedError, match="higher derivatives of recurrent layers"):
        jax.grad(lambda params: optax.tree.norm(jax.grad(loss)(params)))(params)


@needs_compiler
def test_dropout_of_another_generator_is_refused():
    inputs = jnp.ones((2, 3, 4))
    model = network(LIF(), NATIVE)
    variables = model.init(jax.random.key(0), inputs)
    with pytest.raises(NativeError, match="draws the masks of dropout by threefry2x32; unset jax_"):
        model.apply(variables, inputs, jax.random.key(0, impl="rbg"))


@needs_compiler
def test_only_the_last_layer_may_not_spike():
    readout = LeakyReadout(4, execution=NATIVE)
    layer = readout.init_with_output(jax.random.key(0), 4, method="as_layer")[0]
    with pytest.raises(NativeError, match="only the last layer may not spike"):
        scan_layers((layer, layer), jnp.zeros((3, 2, 4)))


def test_there_is_no_plain_scan():
    layer = RecurrentLayer(4, execution=Execution(plain_scan=True, engine="native"))
    with pytest.raises(NativeError, match="the native kernel has no plain scan"):
        layer.init(jax.random.key(0), jnp.zeros((1, 2, 3)))


@needs_compiler
@pytest.mark.parametrize("neuron", NEURONS)
def test_it_may_be_mapped_over(neuron, x64):
    problem = fixed(neuron)
    members = [arrays(**(problem | {"seed": seed})) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    mapped, _ = jax.jit(jax.vmap(gradients(problem, Execution(engine="native", chunk_mib=2e-4))))(*stacked)
    for index, member in enumerate(members):
        expected, _ = gradients(problem, Execution())(*member)
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], mapped), expected, 1e-12)


@needs_compiler
def test_in_float32_few_spikes_differ():
    problem = fixed(SEAdLIF) | {"width": 64, "batch": 16, "channels": 20}
    arguments = jax.tree.map(lambda x: x.astype(jnp.float32), arrays(**problem))
    _, spikes = gradients(problem, NATIVE)(*arguments)
    _, expected = gradients(problem, Execution())(*arguments)
    # A potential within rounding of the threshold may fall to either side, and the neuron then goes its own way.
    assert spikes.mean() > 0.02
    assert jnp.mean(spikes != expected) < 1e-3


@needs_compiler
@pytest.mark.parametrize("path", [path for path in CASES if path.stem[:4] != "lstm" and "autoreg" not in path.stem])
def test_it_agrees_with_the_reference_program(path, x64):
    case = Case(path)
    network = case.network.clone(layers=tuple(layer.clone(execution=NATIVE) for layer in case.network.layers))

    def loss(params):
        outputs = network.apply({**case.variables, "params": params}, case["inputs"])
        return classification(outputs, case["block_idx"], case["targets"], case.how).mean_loss()

    assert_trees_close(jax.jit(jax.grad(loss))(case.params), case.parameters("grad/"), 1e-9)


@pytest.mark.parametrize("neuron", [LSTM(), ALIF()])
def test_a_neuron_without_a_kernel_is_refused(neuron):
    reason = f"{type(neuron).__name__} has no native kernel; the neurons that have one: lif, ef_adlif, se_adlif"
    with pytest.raises(NativeError, match=reason):
        RecurrentLayer(4, neuron, execution=NATIVE).init(jax.random.key(0), jnp.zeros((1, 2, 3)))


def test_a_subclass_has_no_kernel_unless_it_names_one():
    class Slow(SEAdLIF):
        def step(self, coefficients, state, current):
            return super().step(coefficients, state, current / 2)

        def backward(self, *arguments):
            raise NotImplementedError

    assert SEAdLIF.kernel == "se_adlif"
    assert Slow.kernel is None


@needs_compiler
def test_whole_numbers_are_hyperparameters_too():
    inputs = jnp.asarray(np.random.default_rng(0).integers(0, 9, (3, 20, 5)), jnp.uint8)
    neurons = [LIF(threshold=one, surrogate=Surrogate(slope=5 * one, c=one)) for one in (1, 1.0)]
    layers = [RecurrentLayer(6, neuron, execution=NATIVE) for neuron in neurons]
    params = layers[0].init(jax.random.key(0), inputs)
    spikes, expected = (layer.apply(params, inputs) for layer in layers)
    np.testing.assert_array_equal(spikes, expected)
    gradients = [jax.grad(lambda params, layer=layer: layer.apply(params, inputs).sum())(params) for layer in layers]
    jax.tree.map(np.testing.assert_array_equal, *gradients)


@needs_compiler
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_gradients_in_float32_are_near(surrogate):
    problem = fixed(SEAdLIF) | {"width": 37, "batch": 70, "channels": 9, "surrogate": surrogate, "num_steps": 8}
    with jax.enable_x64(True):
        arguments = arrays(**problem)
        expected, spikes = gradients(problem, Execution())(*arguments)
    arguments = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float32), arguments)
    gradient, found = gradients(problem, NATIVE)(*arguments)
    np.testing.assert_array_equal(found, spikes)
    assert_close(gradient, expected, 1e-4)


def test_rounding_to_bfloat16_is_refused():
    layer = RecurrentLayer(4, execution=Execution("bfloat16", engine="native"))
    with pytest.raises(NativeError, match="does not round to bfloat16"):
        layer.init(jax.random.key(0), jnp.zeros((1, 2, 3)))


# ---- Runs ----


@pytest.fixture
def native_config(tiny_config):
    config = tiny_config.unlock()
    config.compute.engine = "native"
    config.model.dropout = 0.1
    return config.lock()


@needs_compiler
@pytest.mark.usefixtures("without_pictures")
def test_a_run_resumed_equals_one_never_interrupted(native_config, tmp_path, monkeypatch):
    fit(native_config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            fit(native_config, tmp_path / "cut")
    fit(native_config, tmp_path / "cut")
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    native_config.compute.engine = "xla"
    with pytest.raises(RunError, match=r"config\.compute\.engine: 'native' -> 'xla'"):
        fit(native_config, tmp_path / "whole")


class NaNForFirstChannel(SEAdLIF):
    """Neurons whose weights for the first channel are NaN from the start."""

    kernel = "se_adlif"

    def initial_weights(self, channels, features):
        initial = super().initial_weights(channels, features)
        return initial | {"kernel": lambda *arguments: initial["kernel"](*arguments).at[0].set(jnp.nan)}


@needs_compiler
@pytest.mark.usefixtures("without_pictures")
def test_a_weight_that_is_nan_and_without_effect_is_found(native_config, tmp_path, monkeypatch):
    native_config.model.neuron = "tests.test_native:NaNForFirstChannel"
    dataset = bsd.load(native_config)
    for split in (dataset.train, dataset.validation, dataset.test):
        split.inputs[..., 0] = 0
    with pytest.raises(DivergenceError, match="a weight is nan"):
        fit(native_config, tmp_path / "run", dataset)


@needs_compiler
@pytest.mark.usefixtures("without_pictures")
def test_two_devices_train_at_once(native_config, tmp_path):
    native_config.batch_size = 32
    one, two = native_config.copy_and_resolve_references(), native_config.copy_and_resolve_references()
    one.devices.mesh, two.devices.mesh = (1, 1), (1, 2)
    first, second = (fit(config, tmp_path / str(index)) for index, config in enumerate((one, two)))
    assert second["test"]["loss"] == pytest.approx(first["test"]["loss"], rel=0.05)


@needs_compiler
@pytest.mark.usefixtures("without_pictures")
def test_a_run_can_be_used_where_the_kernel_cannot(native_config, tmp_path, monkeypatch, capsys):
    fit(native_config, tmp_path / "run")
    here = load_run(tmp_path / "run")
    inputs = here.dataset().test.inputs
    with monkeypatch.context() as patch:
        patch.setattr(native, "check_usable", refuse)
        there = load_run(tmp_path / "run")
    assert "warning: config.compute.engine = 'native': no compiler; XLA computes the network" in capsys.readouterr().out
    np.testing.assert_allclose(there.probabilities(inputs), here.probabilities(inputs), atol=0.05)


@needs_compiler
@pytest.mark.usefixtures("without_pictures")
def test_auto_says_which_engine_runs_and_stays_with_it(native_config, tmp_path, monkeypatch, capsys):
    native_config.compute.engine = "auto"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            fit(native_config, tmp_path / "run")
    assert "engine: native, since it makes use of sparse spikes\n" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(native, "check_usable", refuse)
        with pytest.raises(NativeError, match=r"config\.compute\.engine = 'native': no compiler"):
            fit(native_config, tmp_path / "run")
    result = fit(native_config, tmp_path / "run")
    assert "engine: native, since the run has begun with it\n" in capsys.readouterr().out
    assert result["config"]["compute"]["engine"] == "native"


@pytest.mark.usefixtures("without_pictures")
def test_auto_is_xla_where_the_kernel_cannot_be_used(native_config, tmp_path, monkeypatch, capsys):
    native_config.compute.engine = "auto"
    monkeypatch.setattr(native, "check_usable", refuse)
    result = fit(native_config, tmp_path / "run")
    assert "engine: xla, since no compiler\n" in capsys.readouterr().out
    assert result["config"]["compute"]["engine"] == "xla"


@needs_compiler
@pytest.mark.usefixtures("without_pictures")
def test_a_run_from_before_there_were_engines_stays_with_xla(tiny_config, tmp_path, monkeypatch):
    tiny_config.compute.engine = "xla"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            fit(tiny_config, tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["compute"]["engine"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    tiny_config.compute.engine = "auto"
    assert fit(tiny_config, tmp_path)["config"]["compute"]["engine"] == "xla"


def refuse(*arguments):
    raise NativeError("no compiler")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("compute.plain_scan", True, "the native kernel has no plain scan; unset plain_scan"),
        ("compute.precision", "bfloat16", "does not round to bfloat16"),
        ("task", "forecast", "a forecast, which is fed with its own output, is a plain scan"),
        ("model.neuron", "lstm", "LSTM has no native kernel"),
    ],
)
def test_a_config_that_it_cannot_compute_is_refused(native_config, tmp_path, field, value, reason):
    native_config.update_from_flattened_dict({field: value})
    with pytest.raises(NativeError, match=f"config.compute.engine = 'native': .*{reason}"):
        fit(native_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---- The compiler and its cache ----


@pytest.fixture
def compile_in(tmp_path, monkeypatch):
    """Compile with an empty cache in `tmp_path`; a script that takes no time stands for the compiler."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return functools.partial(compiler.load_library.__wrapped__, "float")


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_compiler_it_says_so(compile_in, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NativeError, match=r"there is no C\+\+ compiler \(c\+\+, g\+\+, clang\+\+\); install one"):
        compile_in()


def test_a_compiler_that_is_not_there_is_named(compile_in, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NativeError, match="CXX=no-such-compiler: there is no such C"):
        compile_in()


def test_a_compiler_that_fails_is_quoted(compile_in, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", script(tmp_path / "broken", "echo 'error: the disk is full' >&2; exit 1"))
    with pytest.raises(NativeError, match="error: the disk is full; name another compiler in CXX"):
        compile_in()
    assert not list((tmp_path / "cache").glob("**/*.so*"))


def test_a_file_that_cannot_be_run_is_no_compiler(compile_in, tmp_path, monkeypatch):
    (tmp_path / "text").write_text("not a program")
    (tmp_path / "text").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "text"))
    with pytest.raises(NativeError, match=r"cannot run .*text"):
        compile_in()


@needs_compiler
@pytest.mark.slow
def test_a_damaged_library_is_compiled_again(compile_in, tmp_path, monkeypatch):
    compile_in()
    (library,) = (tmp_path / "cache").glob("**/*.so")
    shutil.copytree(tmp_path / "cache", tmp_path / "other")
    damaged = tmp_path / "other" / library.relative_to(tmp_path / "cache")
    damaged.write_bytes(library.read_bytes()[:1000])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert compile_in().seadlif_forward
    assert damaged.stat().st_size == library.stat().st_size


@needs_compiler
@pytest.mark.slow
def test_a_cache_that_cannot_be_written_to_is_a_warning(compile_in, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert compile_in().seadlif_forward
    assert "warning: the native kernel is compiled in every process anew, since it cannot be" in capsys.readouterr().err


@needs_compiler
@pytest.mark.slow
def test_what_is_in_a_cache_that_cannot_be_written_to_is_used(compile_in, capsys, monkeypatch):
    compile_in()
    monkeypatch.setattr("seadlif_jax.utils.cache.lock", refuse)
    assert compile_in().seadlif_forward
    assert capsys.readouterr().err.count("\n") == 1


@needs_compiler
@pytest.mark.slow
def test_two_starts_at_once_compile_once(tmp_path):
    code = "from seadlif_jax.native import compiler; compiler.load_library('float')"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    messages = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], messages
    assert sum("compiling the native kernel" in message for message in messages) == 1
