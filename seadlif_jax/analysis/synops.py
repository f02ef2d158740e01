"""Cost of a network as NeuroBench counts it: memory, sparsity and synaptic operations, layer by layer.

A synaptic operation is the work of one weight in one step. It is *effective* if neither weight nor input is zero;
*dense* counts all. An execution is one step of one sample. In it, the effective operations of a product with a matrix
of weights are accumulations (ACs) if all its inputs are -1, 0 or 1, else multiply-accumulations (MACs). Neither biases
nor what happens within the neurons count.

    hidden layer  x_t kernel + z_{t-1} recurrent_kernel     spikes: always ACs in the second, whatever x_t is
    readout       z_t kernel
    LSTM          as a hidden layer, four gates wide; its outputs make MACs; products among gates do not count

All steps count, those of block 0 and of padding too, because the network computes them. So does the first step of the
recurrence, whose input is zero: it has no effective operation, but is dense like any other.

NeuroBench measures PyTorch modules. Given this network, built of `torch.nn.Linear` for the recurrence too, it gives the
same numbers (`benchmarks/neurobench_costs.py` compares them), except that

- it tells ACs from MACs for a whole batch: if one sample has another value than -1, 0 and 1 in a step, the operations
  of all samples in that step are MACs. Ours do not depend on the batches; they are NeuroBench's for batches of one;
- it rounds the connection sparsity to four digits.

For modules other than `Linear` its numbers mean something else. In an `RNNCell` or `LSTMCell` the input alone decides
between ACs and MACs, for the recurrence too; their biases count as connections; and the products among the gates of an
`LSTMCell` are operations. A readout of spiking neurons counts in its activation sparsity; ours, of leaky integrators,
which do not spike, does not.

Source: Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and systems" (Nature
Communications, 2025); the definitions are those of its program, version 2.3.0.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Num

from seadlif_jax.inference.batching import masked_batches, unlabelled
from seadlif_jax.inference.streaming import stream
from seadlif_jax.nn import Network
from seadlif_jax.nn.layer import Weights
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.progress import bar


class CostError(SeadlifError):
    """Inputs on which no costs can be measured."""


class LayerCost(NamedTuple):
    """Costs of one layer, or of all of them.

    Attributes:
      layer: "hidden 1", ..., "readout" or "total".
      parameters: number of trained values.
      footprint_bytes: size of all variables: parameters, fixed time constants of the readout, running moments.
        Numbers of the config, such as the threshold, are not stored.
      state_bytes: size of what the neurons of one sample keep from step to step, such as `u`, `w` and `z`. NeuroBench
        has no such number, and does not count it in the footprint.
      connection_sparsity: fraction of the weights, feed-forward and recurrent, that are zero.
      activation_sparsity: fraction of the hidden neurons' outputs, over all samples and steps, that are zero; None for
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


class _Events(NamedTuple):
    """Number of times each input of a product was not zero: in executions with inputs -1, 0, 1 only, and in others."""

    binary: Int[Array, "*steps channel"]
    graded: Int[Array, "*steps channel"]


class _Activity(NamedTuple):
    """Inputs of all products with weights, summed over samples and steps; the readout's are the last."""

    feedforward: list[_Events]
    recurrent: list[_Events]


class _Totals(NamedTuple):
    """Costs of a layer in whole numbers, which add up over layers; operations and outputs over all samples."""

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


def measure_costs(
    network: Network,
    variables: Mapping[str, Any],
    inputs: Num[np.ndarray, "..."] | Num[Array, "..."],
    feedback_from: int | None = None,
    batch_size: int = 256,
    prepare: Callable[[Any], Any] = lambda batch: batch,
) -> list[LayerCost]:
    """Measure the costs of a network on these inputs, without dropout: each layer's, then the total.

    Args:
      network: of any neuron.
      variables: its variables, by collection.
      inputs: `[sample, time, channel]`.
      feedback_from: for a forecast, the step from which the network is fed its own output (see `Network.forecast`).
      batch_size: number of samples that are worked on at once, without effect on the costs. Operations are counted
        exactly; the spikes are those of a call of the network, up to the rounding of membrane potentials.
      prepare: from a batch of samples to what the network takes, as `tasks.Task.prepare`.

    Raises:
      CostError: there is no step, or the inputs are not `[sample, time, channel]` with the network's channels.

    Example:
      >>> from seadlif_jax import LeakyReadout, RecurrentLayer
      >>> network = Network(layers=(RecurrentLayer(8),), readout=LeakyReadout(2))
      >>> inputs = jnp.ones((3, 10, 4))
      >>> variables = network.init(jax.random.key(0), inputs)
      >>> [(cost.layer, cost.dense) for cost in measure_costs(network, variables, inputs)]
      [('hidden 1', 960.0), ('readout', 160.0), ('total', 1120.0)]
    """
    names = [*(f"layers_{index}" for index in range(len(network.layers))), "readout"]
    channels = len(variables["params"][names[0]]["kernel"])
    if inputs.ndim != 3 or inputs.shape[-1] != channels:
        raise CostError(f"inputs of shape {inputs.shape}: they must be [sample, time, {channels} channels]")
    samples, steps, _ = inputs.shape
    if not samples * steps:
        raise CostError("there is no step to measure costs on; give at least one sample")

    count = jax.jit(functools.partial(_activity, network, feedback_from))
    activity: Any = None
    batch_size = min(batch_size, samples)
    batches = masked_batches(unlabelled(np.asarray(inputs)), batch_size)
    for batch in bar(batches, total=-(-samples // batch_size), unit="batch"):
        counts = count(variables, prepare(batch.samples).inputs, batch.is_sample)
        # A batch is counted in 32 bits; a test set needs more.
        counts = jax.tree.map(lambda number: np.asarray(number, np.int64), counts)
        activity = counts if activity is None else jax.tree.map(np.add, activity, counts)

    states = jax.eval_shape(lambda: network.initial_state(1))
    layers: Any = network.apply(variables, channels, method="as_layers")
    by_layer = []
    for index, (name, layer, state) in enumerate(zip(names, layers, states, strict=True)):
        stored = {collection: tree[name] for collection, tree in variables.items() if name in tree}
        costs = _memory(stored, state) | _operations(layer.weights, activity, index, samples * steps)
        by_layer.append(_Totals(**costs))
    total = _Totals(*map(sum, zip(*by_layer, strict=True)))
    titles = [*(f"hidden {number}" for number in range(1, len(names))), "readout", "total"]
    return [_per_sample(title, costs, samples) for title, costs in zip(titles, [*by_layer, total], strict=True)]


def format_costs(costs: Sequence[LayerCost]) -> str:
    """Return the costs as a table in text; operations are rounded to a tenth."""
    lines: list[tuple[str, ...]] = [
        ("", "", "footprint", "state", "connection", "activation", "effective", "effective", "dense"),
        ("layer", "parameters", "(bytes)", "(bytes)", "sparsity", "sparsity", "MACs", "ACs", "operations"),
    ]
    for cost in costs:
        activation = "-" if cost.activation_sparsity is None else f"{cost.activation_sparsity:.4f}"
        sizes = (f"{size:,}" for size in (cost.parameters, cost.footprint_bytes, cost.state_bytes))
        operations = (f"{number:,.1f}" for number in (cost.effective_macs, cost.effective_acs, cost.dense))
        lines.append((cost.layer, *sizes, f"{cost.connection_sparsity:.4f}", activation, *operations))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    name, *others = widths
    return "\n".join("  ".join([line[0].ljust(name), *map(str.rjust, line[1:], others)]).rstrip() for line in lines)


def _activity(
    network: Network,
    feedback_from: int | None,
    variables: Mapping[str, Any],
    inputs: Num[Any, "batch time channel"],
    is_sample: Bool[Any, " batch"],
) -> _Activity:
    """Return the activity of one batch without its padding."""

    def observe(x: Array, before: tuple[Any, ...], after: tuple[Any, ...]) -> _Activity:
        sent = (state.output[..., : layer.output_features] for layer, state in zip(network.layers, after, strict=False))
        feedforward = [x, *sent]
        recurrent = [state.output for state in before[:-1]]
        return _Activity([_events(x, is_sample) for x in feedforward], [_events(z, is_sample) for z in recurrent])

    of_steps = stream(network, variables, inputs, observe, feedback_from)
    return jax.tree.map(lambda counts: counts.sum(axis=0), of_steps)


def _events(x: Num[Array, "batch channel"], is_sample: Bool[Any, " batch"]) -> _Events:
    nonzero = (x != 0) & is_sample[:, None]
    binary = jnp.all(~nonzero | (jnp.abs(x) == 1), axis=-1, keepdims=True)
    return _Events(jnp.sum(nonzero & binary, axis=0), jnp.sum(nonzero & ~binary, axis=0))


def _memory(stored: Mapping[str, Any], state: Any) -> dict[str, int]:
    """Return the memory of a layer, from its collections of arrays and its state for one sample."""
    return {
        "parameters": sum(array.size for array in jax.tree.leaves(stored["params"])),
        "footprint_bytes": sum(array.nbytes for array in jax.tree.leaves(stored)),
        "state_bytes": sum(array.size * array.dtype.itemsize for array in jax.tree.leaves(state)),
    }


def _operations(of_layer: Weights, activity: _Activity, index: int, executions: int) -> dict[str, int]:
    """Return outputs and synaptic operations of a layer: each nonzero input meets all its nonzero weights."""
    kernels = [np.asarray(kernel) for kernel in (of_layer.kernel, of_layer.recurrent_kernel) if kernel is not None]
    fan_outs = [np.count_nonzero(kernel, axis=1) for kernel in kernels]
    received = [activity.feedforward[index], *activity.recurrent[index : index + 1]]
    products = list(zip(fan_outs, received, strict=False))  # without recurrence, only the first
    weights = sum(kernel.size for kernel in kernels)
    costs = {
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
        costs["outputs"] = len(sent.binary) * executions
        costs["zero_outputs"] = costs["outputs"] - int(np.sum(sent))
    return costs


def _per_sample(layer: str, costs: _Totals, samples: int) -> LayerCost:
    return LayerCost(
        layer,
        costs.parameters,
        costs.footprint_bytes,
        costs.state_bytes,
        connection_sparsity=costs.zero_weights / costs.weights,
        activation_sparsity=costs.zero_outputs / costs.outputs if costs.outputs else None,
        effective_macs=costs.effective_macs / samples,
        effective_acs=costs.effective_acs / samples,
        dense=costs.dense / samples,
    )
