"""What a network costs, as NeuroBench counts it: memory, sparsity, and synaptic operations, layer by layer.

A synaptic operation is what one weight does in one step. It is *effective* if neither weight nor input is zero; *dense*
counts all. An execution is a step of a sample. In it, the effective operations of a product with a matrix of weights
are accumulations (ACs) if all its inputs are -1, 0 or 1, else multiply-accumulations (MACs). Biases do not count, nor
does what happens within the neurons.

    hidden layer  x_t kernel + z_{t-1} recurrent_kernel     spikes: always ACs in the second, whatever x_t is
    readout       z_t kernel
    LSTM          as a hidden layer, four gates wide; its outputs make MACs; products among gates do not count

All steps count, those of block 0 and of padding too, because the network computes them. So does the first step of the
recurrence, whose input is zero: it has no effective operation, but is dense like any other.

NeuroBench measures PyTorch modules. Given this network, built of `torch.nn.Linear` for the recurrence too, it finds the
same (`benchmarks/neurobench_costs.py` compares them), except that

- it tells ACs from MACs for a whole batch: if one sample has another value than -1, 0 and 1 in a step, the operations
  of all samples in that step are MACs. Ours do not depend on the batches; they are NeuroBench's for batches of one;
- it rounds the connection sparsity to four digits.

Of modules other than `Linear` its figures mean something else. In an `RNNCell` or `LSTMCell` the input alone decides
between ACs and MACs, for the recurrence too; their biases count as connections; and of an `LSTMCell` the products among
gates are operations. A readout of spiking neurons counts in its activation sparsity; ours, of leaky integrators, which
do not spike, does not.

Source: Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and systems" (Nature
Communications, 2025); the definitions are those of its program, version 2.3.0.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Num

from seadlif_jax.nn.network import Network, time_major
from seadlif_jax.utils.errors import SeadlifError

Batch = Num[Array, "batch time channel"] | Num[np.ndarray, "batch time channel"]


class CostError(SeadlifError):
    """Inputs that no costs can be measured on."""


class Row(NamedTuple):
    """The costs of a layer, or of all of them.

    Attributes:
      layer: "hidden 1", ..., "readout" or "total".
      parameters: number of trained values.
      footprint_bytes: of all stored values: parameters, and constants such as fixed time constants of the readout.
        Numbers of the config, such as the threshold, are not stored.
      state_bytes: of what the neurons of one sample keep from step to step, such as `u`, `w` and `z`. NeuroBench has no
        such figure, and does not count it in the footprint.
      connection_sparsity: the part of the weights, feed-forward and recurrent, that are zero.
      activation_sparsity: the part of the hidden neurons' outputs, of all samples and steps, that are zero; None for
        the readout.
      effective_macs, effective_acs, dense: synaptic operations per sample.
    """

    layer: str
    parameters: int
    footprint_bytes: int
    state_bytes: int
    connection_sparsity: float
    activation_sparsity: float | None
    effective_macs: float
    effective_acs: float
    dense: float


class Events(NamedTuple):
    """How often each input of a product was not zero: in executions whose inputs are all -1, 0 or 1, and in others."""

    binary: Int[Array, "*steps channel"]
    graded: Int[Array, "*steps channel"]


class _Activity(NamedTuple):
    """The inputs of all products with weights, summed over samples and steps; those of the readout are the last."""

    feedforward: list[Events]
    recurrent: list[Events]


class _Sums(NamedTuple):
    """The costs of a layer in whole numbers, which add up over layers; operations and outputs over all samples."""

    parameters: int
    footprint_bytes: int
    state_bytes: int
    weights: int
    zero_weights: int
    outputs: int
    zero_outputs: int
    effective_macs: int
    effective_acs: int
    dense: int


def measure(
    network: Network, variables: Mapping[str, Any], batches: Iterable[Batch], feedback_from: int | None = None
) -> list[Row]:
    """The costs of a network on these inputs, without dropout: a row for each layer, then the total.

    Args:
      network: of any neuron.
      variables: its parameters and constants.
      batches: the inputs, each sample once; only one batch is held at a time, and each size is compiled for. Operations
        are counted exactly; the spikes are those of a call of the network, up to the rounding of membrane potentials.
      feedback_from: for a forecast, the step from which the network is fed its own output (see `Network.forecast`).

    Raises:
      CostError: there is no step in the batches, or one is not `[batch, time, channel]` with the network's channels.

    Example:
      >>> from seadlif_jax import LeakyReadout, RecurrentLayer
      >>> network = Network(layers=(RecurrentLayer(8),), readout=LeakyReadout(2))
      >>> inputs = jnp.ones((3, 10, 4))
      >>> variables = network.init(jax.random.key(0), inputs)
      >>> [(row.layer, row.dense) for row in measure(network, variables, [inputs])]
      [('hidden 1', 960.0), ('readout', 160.0), ('total', 1120.0)]
    """
    names = [*(f"layers_{index}" for index in range(len(network.layers))), "readout"]
    channels = len(variables["params"][names[0]]["kernel"])
    activity_of = jax.jit(functools.partial(_activity, network, feedback_from))
    samples = executions = 0
    activity: Any = None
    for inputs in batches:
        if inputs.ndim != 3 or inputs.shape[-1] != channels:
            raise CostError(f"inputs of shape {inputs.shape}: they must be [batch, time, {channels} channels]")
        # A batch is counted in 32 bits; a test set needs more.
        found = jax.tree.map(lambda count: np.asarray(count, np.int64), activity_of(variables, inputs))
        activity = found if activity is None else jax.tree.map(np.add, activity, found)
        samples, executions = samples + inputs.shape[0], executions + inputs.shape[0] * inputs.shape[1]
    if not executions:
        raise CostError("there is no step to measure costs on; give at least one sample")

    states = jax.eval_shape(lambda: network.initial_state(1))
    of_layers = []
    for index, (name, state) in enumerate(zip(names, states, strict=True)):
        stored = {collection: tree[name] for collection, tree in variables.items() if name in tree}
        sums = _memory(stored, state) | _operations(stored["params"], activity, index, executions)
        of_layers.append(_Sums(**sums))
    total = _Sums(*map(sum, zip(*of_layers, strict=True)))
    titles = [*(f"hidden {number}" for number in range(1, len(names))), "readout", "total"]
    return [_row(title, sums, samples) for title, sums in zip(titles, [*of_layers, total], strict=True)]


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The rows as columns of a table, by name."""
    return {name: [getattr(row, name) for row in rows] for name in Row._fields}


def text(rows: Sequence[Row]) -> str:
    """The rows as a table for people; operations are rounded to a tenth."""
    lines: list[tuple[str, ...]] = [
        ("", "", "footprint", "state", "connection", "activation", "effective", "effective", "dense"),
        ("layer", "parameters", "(bytes)", "(bytes)", "sparsity", "sparsity", "MACs", "ACs", "operations"),
    ]
    for row in rows:
        activation = "-" if row.activation_sparsity is None else f"{row.activation_sparsity:.4f}"
        sizes = (f"{size:,}" for size in (row.parameters, row.footprint_bytes, row.state_bytes))
        operations = (f"{number:,.1f}" for number in (row.effective_macs, row.effective_acs, row.dense))
        lines.append((row.layer, *sizes, f"{row.connection_sparsity:.4f}", activation, *operations))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    name, *others = widths
    return "\n".join("  ".join([line[0].ljust(name), *map(str.rjust, line[1:], others)]).rstrip() for line in lines)


def _activity(
    network: Network, feedback_from: int | None, variables: Mapping[str, Any], inputs: Num[Array, "batch time channel"]
) -> _Activity:
    """Of one batch; step by step, which takes no memory for the spikes of all steps."""

    def body(state: Any, step_input: tuple[Array, Array]) -> tuple[Any, _Activity]:
        x, t = step_input
        if feedback_from is not None:
            x = jnp.where(t < feedback_from, x, state[-1].output)
        recurrent = [_events(layer.output) for layer in state[:-1]]
        found: Any = network.apply(variables, state, x, method="step")
        state, _ = found
        return state, _Activity([_events(x), *(_events(layer.output) for layer in state[:-1])], recurrent)

    batch, num_steps, _ = inputs.shape
    steps = (time_major(inputs), jnp.arange(num_steps))
    _, activity = jax.lax.scan(body, network.initial_state(batch), steps)
    return jax.tree.map(lambda count: count.sum(axis=0), activity)


def _events(x: Num[Array, "*steps batch channel"]) -> Events:
    nonzero = x != 0
    binary = jnp.all(~nonzero | (jnp.abs(x) == 1), axis=-1, keepdims=True)
    return Events(jnp.sum(nonzero & binary, axis=-2), jnp.sum(nonzero & ~binary, axis=-2))


def _memory(stored: Mapping[str, Any], state: Any) -> dict[str, int]:
    """Of a layer, from its collections of arrays and its state for one sample."""
    return {
        "parameters": sum(array.size for array in jax.tree.leaves(stored["params"])),
        "footprint_bytes": sum(array.nbytes for array in jax.tree.leaves(stored)),
        "state_bytes": sum(array.size * array.dtype.itemsize for array in jax.tree.leaves(state)),
    }


def _operations(params: Mapping[str, Any], activity: _Activity, index: int, executions: int) -> dict[str, int]:
    """Of a layer, what it sends and its synaptic operations: each nonzero input meets all nonzero weights from it."""
    kernels = [np.asarray(params[name]) for name in ("kernel", "recurrent_kernel") if name in params]
    fan_outs = [np.count_nonzero(kernel, axis=1) for kernel in kernels]
    received = [activity.feedforward[index], *activity.recurrent[index : index + 1]]
    products = list(zip(fan_outs, received, strict=False))  # without recurrence, only the first
    weights = sum(kernel.size for kernel in kernels)
    sums = {
        "weights": weights,
        "zero_weights": weights - int(sum(map(np.sum, fan_outs))),
        "effective_macs": sum(int(fan_out @ events.graded) for fan_out, events in products),
        "effective_acs": sum(int(fan_out @ events.binary) for fan_out, events in products),
        "dense": weights * executions,
        "outputs": 0,
        "zero_outputs": 0,
    }
    if index < len(activity.recurrent):
        sent = activity.feedforward[index + 1]
        sums["outputs"] = len(sent.binary) * executions
        sums["zero_outputs"] = sums["outputs"] - int(np.sum(sent))
    return sums


def _row(layer: str, sums: _Sums, samples: int) -> Row:
    return Row(
        layer,
        sums.parameters,
        sums.footprint_bytes,
        sums.state_bytes,
        connection_sparsity=sums.zero_weights / sums.weights,
        activation_sparsity=sums.zero_outputs / sums.outputs if sums.outputs else None,
        effective_macs=sums.effective_macs / samples,
        effective_acs=sums.effective_acs / samples,
        dense=sums.dense / samples,
    )
