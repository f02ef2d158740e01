import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.analysis.synops import CostError, LayerCost, format_costs, measure_costs
from seadlif_jax.neurons import LIF, NEURONS
from seadlif_jax.runs.files import write_table
from seadlif_jax.utils.tables import as_columns

# Two LIF neurons that spike whenever a kernel of 100 brings them a spike, and two classes.
SURE = Network(layers=(RecurrentLayer(2, LIF(tau_u=(5.0, 5.0))),), readout=LeakyReadout(2))
SURE_VARIABLES = {
    "params": {
        "layers_0": {
            "kernel": jnp.asarray([[100.0, 0.0], [100.0, 100.0]]),
            "bias": jnp.zeros(2),
            "recurrent_kernel": jnp.asarray([[0.0, -0.5], [0.0, 0.0]]),
            "k_u": jnp.zeros(2),
        },
        "readout": {"kernel": jnp.asarray([[1.0, 0.0], [1.0, 1.0]]), "bias": jnp.zeros(2)},
    },
    "constants": {"readout": {"tau": jnp.full(2, 15.0)}},
}


def counts(samples):
    """Random numbers of events; in some steps none is more than 1."""
    return jnp.asarray(np.random.default_rng(0).poisson(0.6, (samples, 12, 3)), jnp.uint8)


def pruned(variables):
    """With random weights set to zero, and all those of the second layer's recurrence."""
    rng = np.random.default_rng(0)

    def prune(path, array):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        array = np.array(array)
        if name.endswith("kernel"):
            array[rng.random(array.shape) < (1 if name == "params/layers_1/recurrent_kernel" else 0.4)] = 0
        return jnp.asarray(array)

    return jax.tree_util.tree_map_with_path(prune, variables)


def two_layers(neuron):
    """That spike often, and their variables."""
    layers = tuple(RecurrentLayer(width, NEURONS[neuron]()) for width in (4, 3))
    network = Network(layers=layers, readout=LeakyReadout(2))
    variables = pruned(jax.jit(network.init)(jax.random.key(1), jnp.zeros((1, 1, 3))))
    for index in range(2):
        variables["params"][f"layers_{index}"]["kernel"] *= 30
    return network, variables


def by_counting(variables, inputs, outputs_of_layers):
    """(MACs, ACs, dense) of each layer for all samples: one weight, one step, one sample at a time."""
    counted = []
    sources = [inputs, *outputs_of_layers]
    for index, source in enumerate(sources):
        name = f"layers_{index}" if index < len(outputs_of_layers) else "readout"
        kernels = [("kernel", source, 0)]
        if index < len(outputs_of_layers):
            kernels.append(("recurrent_kernel", outputs_of_layers[index], 1))
        macs = acs = dense = 0
        for kernel_name, sent, delay in kernels:
            kernel = np.asarray(variables["params"][name][kernel_name])
            for sample, step in itertools.product(range(sent.shape[0]), range(sent.shape[1])):
                x = sent[sample, step - delay] if step >= delay else np.zeros(sent.shape[2])
                needs_multiplication = any(value not in (-1, 0, 1) for value in x)
                for before, after in itertools.product(*map(range, kernel.shape)):
                    dense += 1
                    if x[before] != 0 and kernel[before, after] != 0:
                        macs += needs_multiplication
                        acs += not needs_multiplication
        counted.append((macs, acs, dense))
    return counted


@pytest.mark.parametrize(
    ("size", "macs", "acs"),
    # The kernel takes 1 operation for the first step's event, and 1 + 2 for those of the third; the recurrence 1.
    [(1, 0, 5), (-1, 3, 2), (2, 4, 1)],
)
def test_costs_are_those_counted_by_hand(size, macs, acs):
    events = {1: [[1, 0], [0, 0], [1, 1]], 2: [[2, 0], [0, 0], [1, 2]], -1: [[1, 0], [0, 0], [1, 0.5]]}[size]
    inputs = jnp.asarray([events, np.zeros((3, 2))], float)  # the second sample is silent
    hidden, readout, total = measure_costs(SURE, SURE_VARIABLES, inputs)
    assert hidden == LayerCost("hidden 1", 12, 48, 16, 0.5, 9 / 12, macs / 2, acs / 2, 24)
    assert readout == LayerCost("readout", 6, 32, 8, 1 / 4, None, 0, 4 / 2, 12)
    assert total == LayerCost("total", 18, 80, 24, 5 / 12, 9 / 12, macs / 2, (acs + 4) / 2, 36)


def test_minus_one_is_an_event_too():
    inputs = jnp.asarray([[[-1, 1], [0, -1]]], float)
    hidden = measure_costs(SURE, SURE_VARIABLES, inputs)[0]
    assert (hidden.effective_macs, hidden.effective_acs) == (0, 1 + 2 + 2)


@pytest.mark.parametrize("neuron", ["se_adlif", "ef_adlif", "lif", "lstm"])
def test_operations_are_those_counted_one_by_one(neuron):
    network, variables = two_layers(neuron)
    inputs = counts(5)
    _, states = jax.jit(functools.partial(network.apply, method="trace"))(variables, inputs)
    sent = [np.asarray(state.output) for state in states]
    *layers, total = measure_costs(network, variables, inputs)
    expected = by_counting(variables, np.asarray(inputs), sent)
    counted = [(row.effective_macs * 5, row.effective_acs * 5, row.dense * 5) for row in layers]
    np.testing.assert_allclose(counted, expected, rtol=1e-12)
    np.testing.assert_allclose((total.effective_macs, total.effective_acs), np.sum(expected, axis=0)[:2] / 5)
    assert expected[0][0] > 0
    assert expected[0][1] > 0  # both kinds of steps are there
    for row, spikes in zip(layers, sent, strict=False):
        assert row.activation_sparsity == np.mean(spikes == 0)
    if neuron != "lstm":
        assert 0.05 < total.activation_sparsity < 0.95
        assert total.activation_sparsity == np.mean(np.concatenate(sent, axis=-1) == 0)


def test_zero_weights_are_part_of_the_footprint_and_of_the_dense_operations_only():
    network, variables = two_layers("se_adlif")
    inputs = counts(5)
    rows = measure_costs(network, variables, inputs)
    weights = [
        np.concatenate([layer[name].ravel() for name in ("kernel", "recurrent_kernel") if name in layer])
        for layer in variables["params"].values()
    ]
    counted = [row.connection_sparsity for row in rows]
    assert counted == [np.mean(each == 0) for each in (*weights, np.concatenate(weights))]
    assert counted[1] >= 9 / 21  # the recurrence of the second layer
    # u, w and z of seven neurons, y of two classes; the parameters, and two time constants; 4 bytes each.
    assert rows[-1].state_bytes == 4 * (3 * 7 + 2)
    assert rows[-1].parameters == (3 + 4 + 5) * 4 + (4 + 3 + 5) * 3 + (3 + 1) * 2
    assert rows[-1].footprint_bytes == 4 * (rows[-1].parameters + 2)


def test_a_layer_without_recurrence_has_no_operations_of_one():
    network = Network(layers=(RecurrentLayer(4, recurrent=False),), readout=LeakyReadout(2))
    inputs = jnp.ones((2, 6, 3))
    variables = jax.jit(network.init)(jax.random.key(0), inputs)
    hidden = measure_costs(network, variables, inputs)[0]
    assert hidden.effective_acs == hidden.dense == 6 * 3 * 4


@pytest.mark.parametrize("batch_size", [2, 4])
def test_the_batch_size_makes_no_difference(batch_size):
    """Also with a last batch that is filled up."""
    network, variables = two_layers("se_adlif")
    inputs = counts(6)
    whole = measure_costs(network, variables, inputs)
    assert measure_costs(network, variables, inputs, batch_size=batch_size) == whole


def test_a_forecast_costs_what_its_own_output_costs():
    network = Network(layers=(RecurrentLayer(4),), readout=LeakyReadout(3))
    inputs = jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, 8, 3)), float)
    variables = jax.jit(network.init)(jax.random.key(0), inputs)
    variables["params"]["readout"]["bias"] = jnp.ones(3)  # real outputs, so that there are MACs
    outputs = network.apply(variables, inputs, feedback_from=5)
    fed = jnp.concatenate([inputs[:, :5], outputs[:, 4:-1]], axis=1)
    counted = measure_costs(network, variables, inputs, feedback_from=5)
    assert counted == measure_costs(network, variables, fed)
    assert counted[0].effective_macs == 3 * 3 * 4  # three steps of real outputs


def test_counts_beyond_32_bits_are_exact():
    network = Network(layers=(RecurrentLayer(512, LIF(), recurrent=False),), readout=LeakyReadout(1))
    inputs = np.ones((10_000, 8, 64), np.uint8)
    variables = jax.jit(network.init)(jax.random.key(0), inputs[:1])
    hidden = measure_costs(network, variables, inputs, batch_size=2000)[0]
    assert hidden.effective_acs == hidden.dense == 8 * 64 * 512
    assert 10_000 * hidden.dense > 2**31


def test_the_rows_become_a_table(tmp_path):
    rows = measure_costs(SURE, SURE_VARIABLES, jnp.ones((1, 3, 2)))
    write_table(tmp_path / "costs.csv", as_columns(rows))
    lines = (tmp_path / "costs.csv").read_text().splitlines()
    assert lines[0] == ",".join(LayerCost._fields)
    assert lines[2] == "readout,6,32,8,0.25,,0.0,9.0,12.0"
    assert format_costs(rows).splitlines()[3].split() == [
        "readout",
        "6",
        "32",
        "8",
        "0.2500",
        "-",
        "0.0",
        "9.0",
        "12.0",
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((0, 3, 2), np.float32), "no step to measure costs on"),
        (np.zeros((3, 0, 2), np.float32), "no step to measure costs on"),
        (np.zeros((1, 3, 5), np.float32), r"inputs of shape \(1, 3, 5\): they must be \[sample, time, 2 channels\]"),
        (np.zeros((3, 2), np.float32), r"inputs of shape \(3, 2\)"),
    ],
)
def test_inputs_without_a_cost_are_refused(inputs, message):
    with pytest.raises(CostError, match=message):
        measure_costs(SURE, SURE_VARIABLES, inputs)


def test_weights_that_are_rounded_to_zero_do_no_work():
    inputs = counts(2)
    network = Network((RecurrentLayer(4, LIF(), recurrent=False, round_weights=True),), LeakyReadout(2))
    variables = network.init(jax.random.key(0), inputs)
    kernel = jnp.full((3, 4), 1e-4).at[0].set(1.0)  # of which the scale is 1 / 127
    variables["params"]["layers_0"]["kernel"] = kernel
    hidden = measure_costs(network, variables, inputs)[0]
    assert hidden.connection_sparsity == pytest.approx(2 / 3)
    assert hidden.effective_acs + hidden.effective_macs == pytest.approx(4 * np.sum(inputs[..., 0] != 0) / 2)
