"""A check of a neuron of one's own: that its step, carry, gradient and bounds fit what layers expect of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from seadlif_jax.neurons import Neuron
from seadlif_jax.nn import Execution, RecurrentLayer
from seadlif_jax.utils.errors import SeadlifError, with_type

BATCH, STEPS, CHANNELS, FEATURES = 3, 24, 4, 5
SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # of the weights, the first with which neurons spike
SOME, MOST = 0.02, 0.9  # share of the steps in which a neuron spikes


def check_neuron(neuron: Neuron, tolerance: float = 1e-9) -> None:
    """Raise an error that says what is wrong with a neuron, if anything is.

    All is computed in float64, in a recurrent layer with random weights and inputs:

    - the neuron is hashable, and its parameters start within their bounds;
    - hyperparameters may be traced, as in layers and sweeps;
    - a step keeps type and shapes of the state, and no neuron depends on another one, or on another sample;
    - outputs are 0 or 1 if `spiking`, and some are 1;
    - a whole sequence, with carries and in chunks, gives the outputs of its steps one after the other;
    - the gradients for weights, inputs and parameters are those of automatic differentiation through time, finite, and
      not zero for any parameter.

    Args:
      neuron: the neuron.
      tolerance: of the gradients, relative to the largest entry of each array.

    Raises:
      AssertionError: one of these does not hold.
      SeadlifError: initial values of a parameter are not within its bounds.

    Example:
      >>> from seadlif_jax import ALIF
      >>> check_neuron(ALIF())
    """
    with jax.enable_x64(True):
        check_step(neuron)
        _check_single_sample(neuron)
        _check_traced(neuron)
        layer = RecurrentLayer(FEATURES, neuron)
        inputs = jnp.asarray(np.random.default_rng(0).normal(0.5, 1, (BATCH, STEPS, CHANNELS)))
        params = _lively_params(layer, inputs)
        _check_parameters(layer, params)
        _check_sequence(layer, params, inputs)
        _check_gradient(layer, params, inputs, tolerance)


def check_step(neuron: Neuron, features: int = FEATURES) -> None:
    """Raise an error that says what is wrong with a neuron's step: the first part of `check_neuron`.

    Args:
      neuron: the neuron.
      features: number of neurons in the layer.

    Raises:
      AssertionError: the step does not fit what layers expect of it.
      SeadlifError: a parameter does not.

    Example:
      >>> from seadlif_jax import ALIF
      >>> check_step(ALIF())
    """
    assert isinstance(neuron, Neuron), f"{neuron!r} is no instance of a subclass of Neuron"
    assert hasattr(neuron, "State"), "the class has no State: a NamedTuple of arrays with a property output"
    try:
        hash(neuron)
    except TypeError as error:
        raise AssertionError(
            f"the neuron cannot be hashed ({error}): give hyperparameters as numbers and tuples"
        ) from None
    assert neuron == neuron.replace(), "a copy of the neuron is not equal to it"

    coefficients, state, current = _start(neuron, features)
    for _ in range(3):
        after = _advanced(neuron, coefficients, state, current)
        for what, of in (("type", jax.tree.structure), ("shapes", _shapes), ("types of numbers", _dtypes)):
            assert of(after) == of(state), f"step changes the {what} of the state: from {of(state)} to {of(after)}"
        state = after
    assert hasattr(state, "output"), "the State has no property output: the values that the neurons send on"
    assert state.output.shape == (BATCH, features), (
        f"state.output has shape {state.output.shape}; it must have one value a neuron, {(BATCH, features)}"
    )
    _check_elementwise(neuron, coefficients, state, current)


def _start(neuron: Neuron, features: int) -> tuple[Any, Any, Array]:
    """Return coefficients of random parameters, the initial state, and a random current."""
    rng = np.random.default_rng(1)
    with _named("parameters()"):
        params = {
            name: jnp.asarray(rng.uniform(float(parameter.initial[0]), float(parameter.initial[1]), features))
            for name, parameter in neuron.named_parameters().items()
        }
    with _named(f"coefficients(params) with the parameters {', '.join(params) or 'none'}"):
        coefficients = neuron.coefficients(params)
    with _named("initial_state(shape)"):
        state = neuron.initial_state((BATCH, features))
    return coefficients, state, jnp.asarray(rng.normal(1, 3, (BATCH, neuron.gates * features)))


def _advanced(neuron: Neuron, coefficients: Any, state: Any, current: Array) -> Any:
    with _named("step(coefficients, state, current)"):
        return neuron.step(coefficients, state, current)


@contextlib.contextmanager
def _named(call: str) -> Iterator[None]:
    """Say which call of the neuron's code an error comes from."""
    try:
        yield
    except (AssertionError, SeadlifError):
        raise
    except Exception as error:
        raise AssertionError(f"{call} fails ({with_type(error)})") from error


def _check_elementwise(neuron: Neuron, coefficients: Any, state: Any, current: Array) -> None:
    """Change the first neuron of the first sample alone, one array of the state at a time, and look at all others."""
    leaves, structure = jax.tree.flatten(state)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    changed = {"current": (state, current.at[0, :: current.shape[1] // neuron.gates].add(1))}
    for index, name in enumerate(names):
        if _is_by_neuron(leaves[index], state) and jnp.issubdtype(leaves[index].dtype, jnp.inexact):
            others = [*leaves[:index], leaves[index].at[0, 0].add(1), *leaves[index + 1 :]]
            changed[f"state{name}"] = (jax.tree.unflatten(structure, others), current)
    expected = jax.tree.leaves(_advanced(neuron, coefficients, state, current))
    for name, arguments in changed.items():
        found = jax.tree.leaves(_advanced(neuron, coefficients, *arguments))
        for one, two in zip(expected, found, strict=True):
            if _is_by_neuron(one, state):
                assert jnp.array_equal(one.at[0, 0].set(two[0, 0]), two, equal_nan=True), (
                    f"step is not elementwise: the {name} of one neuron in one sample changes the state of others"
                )


def _is_by_neuron(leaf: Array, state: Any) -> bool:
    """Return whether an array of a state has an entry, or several, for each neuron of each sample."""
    return leaf.shape[:2] == state.output.shape and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _check_single_sample(neuron: Neuron) -> None:
    """Advance the first sample alone, in arrays without the axis of the batch, as the inherited gradient does."""
    if type(neuron).backward is not Neuron.backward:
        return
    coefficients, state, current = _start(neuron, FEATURES)
    expected = neuron.step(coefficients, state, current)
    with _named("step for a single sample, arrays [neuron], whose axes count from the end, such as axis=-1,"):
        found = neuron.step(coefficients, jax.tree.map(lambda array: array[0], state), current[0])
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == two[0].shape, f"step changes shapes for a single sample: {one.shape}, not {two[0].shape}"
        assert jnp.allclose(one, two[0], rtol=1e-9, atol=1e-9, equal_nan=True), (
            "step gives another state for a single sample, arrays [neuron], than for the same one in a batch"
        )


def _lively_params(layer: RecurrentLayer, inputs: Array) -> dict[str, Any]:
    """Return parameters with which some neurons spike, if they are spiking ones."""
    params = layer.init(jax.random.key(0), inputs)["params"]
    rates = []
    for scale in SCALES:
        scaled = {name: scale * value if name == "kernel" else value for name, value in params.items()}
        outputs = _outputs(layer.clone(execution=Execution(plain_scan=True)), scaled, inputs)
        if not layer.neuron.spiking:
            return scaled
        assert jnp.isin(outputs, jnp.array([0.0, 1.0])).all(), (
            "outputs of a spiking neuron are other than 0 and 1; set the class attribute spiking = False if they may be"
        )
        rates.append(float(outputs.mean()))
        if SOME < rates[-1] < MOST:
            return scaled
    raise AssertionError(
        f"neurons spike in {rates[0]:.1%} of the steps with weights as initialised, and in {rates[-1]:.1%} with "
        f"{SCALES[-1]:g} times these: for the check, there must be weights with which some do, and not in all steps"
    )


def _check_parameters(layer: RecurrentLayer, params: dict[str, Any]) -> None:
    for name, parameter in layer.neuron.named_parameters().items():
        low, high = map(float, parameter.bounds)
        assert jnp.all((params[name] >= low) & (params[name] <= high)), f"{name} starts outside of its bounds"


def _check_sequence(layer: RecurrentLayer, params: dict[str, Any], inputs: Array) -> None:
    with_arrays: Any = layer.apply({"params": params}, CHANNELS, method="as_layer")
    state, outputs = layer.initial_state(BATCH), []
    for x in inputs.swapaxes(0, 1):
        state = with_arrays.step(state, with_arrays.project(x))
        outputs.append(state.output)
    expected = jnp.stack(outputs, 1)
    for execution in (Execution(), Execution(chunk_mib=1e-4)):
        found = _outputs(layer.clone(execution=execution), params, inputs)
        assert jnp.allclose(found, expected, rtol=1e-9, atol=1e-9), (
            "a whole sequence gives other outputs than its steps one after the other: unpack must return the state of "
            "which pack made the carry, and initial_carry that of initial_state"
        )


def _check_gradient(layer: RecurrentLayer, params: dict[str, Any], inputs: Array, tolerance: float) -> None:
    cotangent = jnp.asarray(np.random.default_rng(2).normal(size=(BATCH, STEPS, FEATURES)))

    def gradient(execution: Execution) -> PyTree[Array]:
        def weighted_sum(params, inputs):
            return jnp.sum(_outputs(layer.clone(execution=execution), params, inputs) * cotangent)

        params_bar, inputs_bar = jax.grad(weighted_sum, argnums=(0, 1))(params, inputs)
        return params_bar | {"the inputs": inputs_bar}

    expected = gradient(Execution(plain_scan=True))
    assert any(jnp.any(value != 0) for value in jax.tree.leaves(expected)), (
        "no gradient goes through the outputs; compute spikes by the surrogate gradient, self.surrogate(v)"
    )
    for execution in (Execution(), Execution(chunk_mib=1e-4)):
        for name, found in gradient(execution).items():
            scale = jnp.abs(expected[name]).max()
            assert jnp.isfinite(expected[name]).all(), f"the gradient for {name} is not finite"
            assert scale > 0, f"the gradient for {name} is zero"
            error = jnp.abs(found - expected[name]).max() / scale
            assert error <= tolerance, (
                f"the gradient for {name} differs by {error:.2g} of its largest entry from that of automatic "
                "differentiation through time: residual, replay, outputs and backward must belong to step"
            )


def _check_traced(neuron: Neuron) -> None:
    current = jnp.ones((BATCH, neuron.gates * FEATURES))
    params = {name: jnp.full(FEATURES, p.initial[0]) for name, p in neuron.named_parameters().items()}

    def first_step(neuron: Neuron) -> Any:
        return neuron.step(neuron.coefficients(params), neuron.initial_state((BATCH, FEATURES)), current)

    try:
        found = jax.jit(first_step)(jax.tree.map(lambda number: jnp.asarray(number, float), neuron))
    except TypeError as error:
        raise AssertionError(
            f"the neuron cannot be computed with traced hyperparameters, as in layers and sweeps "
            f"({str(error).splitlines()[0]}); mark those that cannot be by flax.struct.field(pytree_node=False)"
        ) from None
    for one, two in zip(*map(jax.tree.leaves, (found, first_step(neuron))), strict=True):
        assert jnp.allclose(one, two, rtol=1e-9, atol=1e-9), "traced hyperparameters give other states than numbers do"


def _outputs(layer: RecurrentLayer, params: dict[str, Any], inputs: Array) -> Array:
    outputs: Any = layer.apply({"params": params}, inputs)
    return outputs


def _shapes(tree: PyTree) -> Any:
    return jax.tree.map(jnp.shape, tree)


def _dtypes(tree: PyTree) -> Any:
    return jax.tree.map(lambda array: str(array.dtype), tree)
