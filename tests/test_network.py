import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.analysis.synops import measure_costs
from seadlif_jax.inference.streaming import serialize_network
from seadlif_jax.neurons import LIF, LSTM, NEURONS, EFAdLIF, SEAdLIF, Surrogate
from seadlif_jax.nn import Hyperparameters, LeakyReadout, Network, RecurrentCell, RecurrentLayer
from seadlif_jax.nn.dropout import Dropout
from seadlif_jax.nn.execution import Execution
from seadlif_jax.nn.scan import scan_layers
from seadlif_jax.utils.errors import InputError
from tests.test_native import needs_compiler

NUM_STEPS = 30
BATCH = 4
ALL = {name: neuron() for name, neuron in NEURONS.items()} | {
    "brf": NEURONS["brf"](
        dt=0.2, omega=(1.0, 3.0), b_offset=(0.1, 1.0)
    ),  # with its own dt, nothing spikes within some steps
    "lif, trained threshold and rest": LIF(train_threshold=True, train_rest=True),
    "ef_adlif, trained threshold and rest": EFAdLIF(train_threshold=True, train_rest=True),
    "se_adlif, trained threshold and rest": SEAdLIF(train_threshold=True, train_rest=True),
}
EXECUTIONS = [
    Execution(),
    Execution(plain_scan=True),
    pytest.param(Execution(engine="native"), marks=needs_compiler),
]
each_neuron = pytest.mark.parametrize("neuron", ALL.values(), ids=ALL)


@pytest.fixture
def inputs():
    return 3.0 * jax.random.bernoulli(jax.random.key(1), 0.5, (BATCH, NUM_STEPS, 5))


def build(neuron, dropout=0.0, outputs=5, **settings):
    network = Network(
        layers=(RecurrentLayer(12, neuron, **settings), RecurrentLayer(9, neuron, **settings)),
        readout=LeakyReadout(outputs, tau=(3.0, 15.0)),
        dropout=dropout,
    )
    variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((1, 1, 5)))

    def louder(path, leaf):
        return 20 * leaf if path[-1].key == "kernel" else leaf

    return network, jax.tree_util.tree_map_with_path(louder, variables)


@each_neuron
@pytest.mark.parametrize("recurrent", [True, False])
def test_streaming_gives_the_outputs_of_the_whole_sequence(neuron, recurrent, x64, inputs):
    network, variables = build(neuron, recurrent=recurrent)
    step = jax.jit(lambda state, x: network.apply(variables, state, x, method="step"))
    state, outputs = network.initial_state(BATCH), []
    for x in inputs.swapaxes(0, 1):
        state, y = step(state, x)
        outputs.append(y)
    whole = jax.jit(network.apply)(variables, inputs)
    assert jnp.abs(whole).max() > 1e-3
    np.testing.assert_allclose(jnp.stack(outputs, axis=1), whole, rtol=1e-12, atol=1e-14)


@each_neuron
def test_a_cell_streams_like_its_layer_runs(neuron, x64, inputs):
    layer, cell = RecurrentLayer(12, neuron), RecurrentCell(12, neuron)
    whole, variables = layer.init_with_output(jax.random.key(0), inputs)
    carry = cell.initialize_carry(jax.random.key(0), inputs[:, 0].shape)
    for t, x in enumerate(inputs.swapaxes(0, 1)):
        carry, outputs = cell.apply(variables, carry, x)
        np.testing.assert_allclose(outputs, whole[:, t], rtol=1e-12, atol=1e-14)


@each_neuron
def test_cells_work_in_the_rnn_of_flax(neuron, x64, inputs):
    rnn = nn.RNN(RecurrentCell(12, neuron), return_carry=True)
    (carry, outputs), variables = rnn.init_with_output(jax.random.key(0), inputs)
    np.testing.assert_array_equal(carry.output, outputs[:, -1])
    layer = {"params": variables["params"]["cell"]}
    np.testing.assert_allclose(outputs, RecurrentLayer(12, neuron).apply(layer, inputs), rtol=1e-12, atol=1e-14)


@each_neuron
def test_both_ways_through_time_drop_the_same_spikes(neuron, x64, inputs):
    network, variables = build(neuron, dropout=0.5)
    key = jax.random.key(7)
    never = inputs.shape[1]
    stepwise = jax.jit(lambda: network.apply(variables, inputs, key, feedback_from=never))()
    whole = jax.jit(network.apply)
    np.testing.assert_allclose(stepwise, whole(variables, inputs, key), rtol=1e-12, atol=1e-14)
    assert not jnp.allclose(stepwise, whole(variables, inputs))


def test_forecast_feeds_the_output_back_without_gradient(x64, inputs):
    network, variables = build(LIF())
    start = 10

    def fed_back(variables):
        return network.apply(variables, inputs, feedback_from=start)

    forecast = jax.jit(fed_back)(variables)
    fed = inputs.at[:, start:].set(forecast[:, start - 1 : -1])
    np.testing.assert_allclose(forecast, jax.jit(network.apply)(variables, fed), rtol=1e-12, atol=1e-14)

    def gradient(run):
        return jax.jit(jax.grad(lambda variables: jnp.sum(run(variables) ** 2)))(variables)["params"]

    detached, constant = gradient(fed_back), gradient(lambda variables: network.apply(variables, fed))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), detached, constant)


def test_dropout_keeps_the_mean_and_changes_every_step(x64, inputs):
    network, variables = build(SEAdLIF(), dropout=0.3)
    run = jax.jit(jax.vmap(lambda key: network.apply(variables, inputs, key)))
    outputs = run(jax.random.split(jax.random.key(0), 9))
    assert len(np.unique(np.asarray(outputs)[:, 0, -1, 0])) == 9

    ones, keys = jnp.ones((2000, 12)), jax.random.split(jax.random.key(3), 2000)
    first, second = (Dropout(keys, 0.3).apply(ones, 0, step) for step in (0, 1))
    assert not jnp.array_equal(first, second)
    assert set(np.unique(first).round(6)) == {0.0, round(1 / 0.7, 6)}
    assert float(first.mean()) == pytest.approx(1.0, abs=0.02)


def test_dropout_of_a_sample_follows_from_its_own_key(inputs):
    network, variables = build(SEAdLIF(), dropout=0.5)
    keys = jax.random.split(jax.random.key(0), BATCH)
    run = jax.jit(network.apply)
    whole = run(variables, inputs, keys)
    halves = [run(variables, inputs[half], keys[half]) for half in (slice(0, 2), slice(2, 4))]
    np.testing.assert_allclose(whole, jnp.concatenate(halves), rtol=1e-5)
    assert not jnp.allclose(whole, run(variables, inputs, keys[::-1]))


def test_dropout_takes_the_key_of_flax_too(inputs):
    network, variables = build(SEAdLIF(), dropout=0.5)
    run = jax.jit(lambda key: network.apply(variables, inputs, rngs={"dropout": key}))
    assert not jnp.allclose(run(jax.random.key(0)), run(jax.random.key(1)))


def test_dropout_spares_recurrent_connections(x64, inputs):
    network, variables = build(SEAdLIF(), dropout=0.9)
    _, with_dropout = network.apply(variables, inputs, jax.random.key(0), method="trace")
    _, without = network.apply(variables, inputs, method="trace")
    assert jnp.array_equal(with_dropout[0].z, without[0].z)
    assert not jnp.array_equal(with_dropout[1].z, without[1].z)


def test_parameters_start_as_documented():
    network = Network(layers=(RecurrentLayer(400),), readout=LeakyReadout(200, tau=(3.0, 15.0)))
    variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((1, 1, 25)))
    layer, readout = variables["params"]["layers_0"], variables["params"]["readout"]
    assert set(layer) == {"kernel", "bias", "recurrent_kernel", "a", "b", "k_u", "k_w"}
    assert set(readout) == {"kernel", "bias"}

    def assert_uniform(values, low, high):
        assert low <= values.min() <= low + 0.03 * (high - low)
        assert high - 0.03 * (high - low) <= values.max() <= high
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.1 * (high - low))

    assert_uniform(layer["kernel"], -0.2, 0.2)
    assert_uniform(readout["kernel"], -0.05, 0.05)
    for name, high in {"a": 1.0, "b": 2.0, "k_u": 1.0, "k_w": 1.0}.items():
        assert_uniform(layer[name], 0.0, high)
    assert_uniform(variables["constants"]["readout"]["tau"], 3.0, 15.0)
    assert not layer["bias"].any()
    assert not readout["bias"].any()
    recurrent = layer["recurrent_kernel"]
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(400), atol=1e-4)


def test_trained_readout_time_constants_are_parameters(inputs):
    network = Network(layers=(RecurrentLayer(4),), readout=LeakyReadout(3, tau=(1.0, 20.0), train_tau=True))
    variables = network.init(jax.random.key(0), inputs)
    assert "constants" not in variables
    assert variables["params"]["readout"]["k_u"].shape == (3,)


def test_forget_bias_is_the_sum_of_both_biases(inputs):
    layer = RecurrentLayer(6, LSTM(forget_bias=1.5))
    params = layer.init(jax.random.key(0), inputs)["params"]
    total = params["bias"] + params["recurrent_bias"]
    np.testing.assert_allclose(total[6:12], 1.5, rtol=1e-6)
    assert jnp.abs(total).max() <= 1.5 + 1e-6


def test_time_constants_stay_in_their_range(inputs):
    layer = RecurrentLayer(3, LIF(tau_u=(5.0, 25.0)))
    variables = layer.init(jax.random.key(0), inputs)
    variables["params"]["k_u"] = jnp.array([0.0, 0.5, 1.0])
    alpha = layer.apply(variables, 5, method="as_layer").coefficients.alpha
    np.testing.assert_allclose(-1 / jnp.log(alpha), [5, 15, 25], rtol=1e-5)


def test_event_counts_need_no_conversion(inputs):
    network, variables = build(SEAdLIF())
    counts = inputs.astype(jnp.uint8)
    run = jax.jit(network.apply)
    np.testing.assert_allclose(run(variables, counts), run(variables, inputs), rtol=1e-6)


def test_hyperparameters_may_be_mapped_over(inputs):
    network, variables = build(SEAdLIF(), dropout=0.3)

    @jax.jit
    def gradient(q, slope, c, dropout):
        neuron = SEAdLIF(q=q, surrogate=Surrogate(slope=slope, c=c))
        hyper = Hyperparameters((neuron, neuron), dropout)
        return jax.grad(lambda v: jnp.sum(network.apply(v, inputs, jax.random.key(0), hyper) ** 2))(variables)["params"]

    settings = jnp.array([[120.0, 5.0, 0.4, 0.15], [60.0, 10.0, 0.2, 0.5]])
    mapped = jax.vmap(gradient)(*settings.T)
    for index, setting in enumerate(settings):
        single = gradient(*setting)
        jax.tree.map(lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-4), mapped, single)


def test_hyperparameters_override_those_of_the_network(x64, inputs):
    network, variables = build(SEAdLIF(q=10.0), dropout=0.3)
    other, _ = build(SEAdLIF(q=60.0), dropout=0.5)
    neuron = SEAdLIF(q=60.0)
    for method, key in (("__call__", None), ("__call__", jax.random.key(0)), ("trace", jax.random.key(0))):
        overridden = network.apply(variables, inputs, key, Hyperparameters((neuron, neuron), 0.5), method=method)
        jax.tree.map(np.testing.assert_array_equal, overridden, other.apply(variables, inputs, key, method=method))


def test_initial_values_follow_the_hyperparameters(inputs):
    network, _ = build(SEAdLIF())
    neuron = SEAdLIF(a=(3.0, 5.0))
    params = network.init(jax.random.key(0), inputs, hyper=Hyperparameters((neuron, neuron)))["params"]
    assert 3 <= params["layers_0"]["a"].min() <= params["layers_0"]["a"].max() <= 5


@each_neuron
def test_networks_are_hashable_and_equal_by_value(neuron):
    first, second = (build(neuron, dropout=0.1)[0] for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)


def test_projection_keeps_to_the_bounds_of_each_layer():
    layers = RecurrentLayer(2, SEAdLIF(a=(0.0, 5.0))), RecurrentLayer(2, LIF())
    network = Network(layers, LeakyReadout(2, train_tau=True))
    values = jnp.array([-9.0, 3.0])
    params = {
        "layers_0": {"a": values, "b": values, "k_u": values, "k_w": values, "bias": values},
        "layers_1": {"k_u": values, "bias": values},
        "readout": {"k_u": values, "bias": values},
    }
    projected = jax.tree.map(lambda array: array.tolist(), network.project(params))
    assert projected == {
        "layers_0": {"a": [0, 3], "b": [0, 2], "k_u": [0, 1], "k_w": [0, 1], "bias": [-9, 3]},
        "layers_1": {"k_u": [0, 1], "bias": [-9, 3]},
        "readout": {"k_u": [0, 1], "bias": [-9, 3]},
    }
    neuron = SEAdLIF(a=(1.0, 2.0))
    narrower = network.project(params, Hyperparameters((neuron, LIF())))
    assert narrower["layers_0"]["a"].tolist() == [1, 2]


def test_the_step_of_the_neuron_is_what_runs_everywhere(monkeypatch, inputs):
    """One truth: with another step, or none, nothing goes on as before."""
    network, variables = build(SEAdLIF())

    def raises(self, coefficients, state, current):
        raise NotImplementedError("the step of this test")

    monkeypatch.setattr(SEAdLIF, "step", raises)
    calls = {
        "gradient": lambda: jax.grad(lambda v: jnp.sum(network.apply(v, inputs)))(variables),
        "evaluation": lambda: network.apply(variables, inputs),
        "activity": lambda: network.apply(variables, inputs, return_activity=True),
        "states": lambda: network.apply(variables, inputs, method="trace"),
        "streaming": lambda: network.apply(variables, network.initial_state(BATCH), inputs[:, 0], method="step"),
        "forecast": lambda: network.apply(variables, inputs, feedback_from=10),
        "export": lambda: serialize_network(network, variables, inputs.shape[-1]),
        "costs": lambda: measure_costs(network, variables, inputs),
    }
    for call in calls.values():
        with pytest.raises(NotImplementedError, match="the step of this test"):
            call()


def test_a_dropout_key_of_the_older_kind_is_as_good():
    network = Network((RecurrentLayer(40),), LeakyReadout(3), dropout=0.5)
    inputs = 5 * jnp.ones((2, 9, 4))
    variables = network.init(jax.random.key(0), inputs)
    typed, raw = (
        network.apply(variables, inputs, rngs={"dropout": key(3)}) for key in (jax.random.key, jax.random.PRNGKey)
    )
    np.testing.assert_array_equal(typed, raw)


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("shape", [(4, 4), (5,), (2, 6, 5, 4), (200_000, 5)])
@pytest.mark.parametrize("of", [RecurrentLayer(4, LIF()), LeakyReadout(4)])
def test_inputs_without_the_three_axes_are_refused(of, shape, execution):
    module = of.clone(execution=execution)
    variables = module.init(jax.random.key(0), jnp.ones((1, 1, shape[-1])))
    with pytest.raises(InputError, match=r"they must be \[batch, time, channel\]"):
        module.apply(variables, jnp.ones(shape))


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_layers_that_do_not_fit_are_refused(execution):
    layer = RecurrentLayer(4, LIF(), execution=execution)
    layers = [layer.init_with_output(jax.random.key(0), width, method="as_layer")[0] for width in (3, 4, 5)]
    scan_layers(layers[:2], jnp.ones((6, 2, 3)))
    for wrong, inputs in ((layers[:1], (6, 2, 4)), ((layers[0], layers[2]), (6, 2, 3))):
        with pytest.raises(InputError, match=r"layer [12] has weights for [35] inputs, but gets 4"):
            scan_layers(wrong, jnp.ones(inputs))
    with pytest.raises(InputError, match=r"they must be \[time, batch, channel\]"):
        scan_layers(layers[:1], jnp.ones((6, 3)))
    with pytest.raises(InputError, match=r"dropout has keys of shape \(3,\) for 2 samples"):
        scan_layers(layers[:2], jnp.ones((6, 2, 3)), Dropout(jax.random.split(jax.random.key(0), 3), 0.5))


@pytest.mark.parametrize("number", [1, 3])
def test_another_number_of_dropout_keys_is_refused(number, inputs):
    network, variables = build(LIF(), 0.5)
    with pytest.raises(InputError, match=rf"dropout_key has shape \({number},\); it must be one key, or one for each"):
        network.apply(variables, inputs, jax.random.split(jax.random.key(0), number))


@pytest.mark.parametrize("rate", [1.0, 15, -0.2, float("nan")])
def test_a_rate_of_dropout_that_is_no_probability_is_refused(rate, inputs):
    with pytest.raises(InputError, match="it is a probability, at least 0 and less than 1"):
        build(LIF(), rate)


def test_streaming_has_no_dropout(inputs):
    network, variables = build(LIF(), 0.5)
    state = network.initial_state(BATCH)
    _, expected = network.apply(variables, state, inputs[:, 0], method="step")
    _, found = network.apply(variables, state, inputs[:, 0], method="step", rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(found, expected)


def test_a_forecast_needs_as_many_outputs_as_channels(inputs):
    network, variables = build(LIF(), outputs=4)
    with pytest.raises(InputError, match="is fed its own outputs, but has 4 outputs and 5 channels"):
        network.apply(variables, inputs, feedback_from=3)


def test_a_forecast_of_no_step_is_empty(inputs):
    network, variables = build(LIF())
    assert network.apply(variables, inputs[:, :0], feedback_from=0).shape == (BATCH, 0, 5)


def test_a_forecast_takes_parameters_of_a_narrower_type(inputs):
    network, variables = build(LIF())
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    found = network.apply(narrow, inputs, feedback_from=NUM_STEPS)
    np.testing.assert_allclose(found, network.apply(narrow, inputs), rtol=1e-5, atol=1e-5)


def test_hyperparameters_for_other_layers_are_refused(inputs):
    network, variables = build(LIF())
    for wrong in ((LIF(),), (LIF(), SEAdLIF())):
        with pytest.raises(InputError, match=r"the hyperparameters are for layers of LIF.*; the network has LIF, LIF"):
            network.apply(variables, inputs, hyper=Hyperparameters(wrong))


@pytest.mark.parametrize(("features", "channels"), [(0, 3), (3, 0)])
def test_layers_without_neurons_or_inputs_are_refused(features, channels):
    for layer in (RecurrentLayer(features, LIF()), LeakyReadout(features)):
        with pytest.raises(InputError, match=f"a layer has {features} neurons and {channels} inputs"):
            layer.init(jax.random.key(0), jnp.ones((1, 1, channels)))


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: RecurrentLayer(SEAdLIF(), 32), "it takes a number of neurons, and a neuron such as SEAdLIF"),
        (lambda: RecurrentLayer(32, SEAdLIF), "it takes a number of neurons, and a neuron such as SEAdLIF"),
        (lambda: RecurrentLayer(32, batch_norm=True), "batch_norm = True: it must be a seadlif_jax.BatchNorm"),
    ],
)
def test_arguments_of_another_type_are_refused(layer, message, inputs):
    with pytest.raises(InputError, match=message):
        layer().init(jax.random.key(0), inputs)


def test_only_parameters_are_projected():
    network, variables = build(LIF())
    with pytest.raises(InputError, match=r'these are not variables\["params"\]: they hold constants, params'):
        network.project(dict(sorted(variables.items())))
