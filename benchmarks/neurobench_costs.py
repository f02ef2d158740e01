"""Our cost figures compared with NeuroBench's, for the same networks and inputs.

    python -m benchmarks.neurobench_costs [--output=benchmarks/results/neurobench.json]

The networks are rebuilt in PyTorch with our weights, from `torch.nn.Linear` (also for the recurrence) and SE-adLIF
neurons. In float64 their spikes must equal ours, or nothing is written. NeuroBench is given batches of one sample, for
which its figures should equal ours, and all samples as one batch, for which it separates ACs and MACs differently (see
`seadlif_jax.analysis.synops`). Needs `pip install neurobench`.
"""

import importlib.metadata
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.progress import progress
from benchmarks.report import align, save
from seadlif_jax import LeakyReadout, Network, RecurrentLayer
from seadlif_jax.analysis.synops import measure_costs
from seadlif_jax.runs.folder import versions

OUTPUT = flags.DEFINE_string("output", "benchmarks/results/neurobench.json", "File for the result.")
SAMPLES, STEPS, CHANNELS, HIDDEN, CLASSES = 8, 50, 12, (20, 16), 4
FIGURES = (
    "parameters",
    "footprint_bytes",
    "connection_sparsity",
    "activation_sparsity",
    "effective_macs",
    "effective_acs",
    "dense",
)
Figures = dict[str, float]


class Case(NamedTuple):
    """Inputs, and the fraction of the weights that is set to zero."""

    inputs: np.ndarray
    pruned: float


def cases() -> dict[str, Case]:
    rng, shape = np.random.default_rng(0), (SAMPLES, STEPS, CHANNELS)
    return {
        "spikes": Case(rng.random(shape) < 0.2, 0.0),
        "spikes, pruned": Case(rng.random(shape) < 0.2, 0.7),
        "counts": Case(rng.poisson(0.3, shape), 0.0),
        "real, pruned": Case(rng.normal(size=shape), 0.7),
    }


def build(pruned: float) -> tuple[Network, Any]:
    """Return a network that spikes often, with its variables."""
    network = Network(layers=tuple(RecurrentLayer(width) for width in HIDDEN), readout=LeakyReadout(CLASSES))
    variables = network.init(jax.random.key(0), jnp.zeros((1, 1, CHANNELS)))
    rng = np.random.default_rng(0)

    def prune_and_scale(path: Any, array: Any) -> Any:
        name = path[-1].key
        if not name.endswith("kernel"):
            return array
        return jnp.where(rng.random(array.shape) < pruned, 0, array * (20 if name == "kernel" else 1))

    return network, jax.tree_util.tree_map_with_path(prune_and_scale, variables)


def spikes_of(network: Network, variables: Any, inputs: Any) -> list[np.ndarray]:
    traced: Any = network.apply(variables, inputs, method="trace")
    return [np.asarray(state.z) for state in traced[1]]


def rebuild(network: Network, variables: Any) -> tuple[Any, type]:
    """Return the same network as a `torch.nn.Module`, and the class of its neurons."""
    import torch
    from torch import nn

    def parameter(array: Any) -> Any:
        return nn.Parameter(torch.tensor(np.asarray(array)))

    def linear(kernel: Any, bias: Any = None) -> Any:
        layer = nn.Linear(*kernel.shape, bias=bias is not None, dtype=torch.float64)
        layer.weight = parameter(kernel.T)
        if bias is not None:
            layer.bias = parameter(bias)
        return layer

    def decay(k: Any, bounds: Any) -> Any:
        return torch.exp(-1 / (bounds[0] + k * (bounds[1] - bounds[0])))

    class SEAdLIF(nn.Module):
        """Neurons of a layer; their output is the spikes."""

        u: Any
        w: Any

        def __init__(self, layer: RecurrentLayer, params: Mapping[str, Any]):
            super().__init__()
            self.k_u, self.k_w, self.a, self.b = (parameter(params[name]) for name in ("k_u", "k_w", "a", "b"))
            self.layer = layer

        def forward(self, current: Any) -> Any:
            alpha, beta = decay(self.k_u, self.layer.tau_u), decay(self.k_w, self.layer.tau_w)
            self.u = alpha * self.u + (1 - alpha) * (current - self.w)
            z = (self.u > 1).to(current.dtype)
            self.u = self.u * (1 - z)
            self.w = beta * self.w + (1 - beta) * self.layer.q * (self.a * self.u + self.b * z)
            return z

    class Copy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            params = variables["params"]
            hidden = [(layer, params[f"layers_{index}"]) for index, layer in enumerate(network.layers)]
            self.forward_weights = nn.ModuleList(linear(of["kernel"], of["bias"]) for _, of in hidden)
            self.recurrent_weights = nn.ModuleList(linear(of["recurrent_kernel"]) for _, of in hidden)
            self.neurons = nn.ModuleList(SEAdLIF(layer, of) for layer, of in hidden)
            self.readout = linear(params["readout"]["kernel"], params["readout"]["bias"])
            self.register_buffer("tau", torch.tensor(np.asarray(variables["constants"]["readout"]["tau"])))

        def forward(self, inputs: Any) -> Any:
            z = [torch.zeros(len(inputs), neurons.layer.features, dtype=inputs.dtype) for neurons in self.neurons]
            for neurons, zero in zip(self.neurons, z, strict=True):
                neurons.u = neurons.w = zero
            y, alpha, outputs = torch.zeros(len(inputs), CLASSES, dtype=inputs.dtype), torch.exp(-1 / self.tau), []
            for x in inputs.unbind(1):
                layers = zip(self.forward_weights, self.recurrent_weights, self.neurons, strict=True)
                for index, (forward, recurrent, neurons) in enumerate(layers):
                    x = z[index] = neurons(forward(x) + recurrent(z[index]))
                y = alpha * y + (1 - alpha) * self.readout(x)
                outputs.append(y)
            return torch.stack(outputs, 1)

    return Copy(), SEAdLIF


def of_neurobench(network: Network, variables: Any, inputs: np.ndarray, batch: int) -> tuple[Figures, list[np.ndarray]]:
    """Return NeuroBench's figures for a batch size, and the spikes that it counted."""
    import torch
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import TorchModel
    from torch.utils.data import DataLoader, TensorDataset

    module, neurons = rebuild(network, variables)
    model = TorchModel(module)
    model.add_activation_module(neurons)
    data = TensorDataset(torch.tensor(inputs), torch.zeros(len(inputs)))
    metrics = [[ParameterCount, Footprint, ConnectionSparsity], [ActivationSparsity, SynapticOperations]]
    seen: list[list[Any]] = [[] for _ in module.neurons]
    for layer, of_layer in zip(module.neurons, seen, strict=True):
        layer.register_forward_hook(lambda _, __, z, of_layer=of_layer: of_layer.append(z.numpy()))
    with torch.no_grad():
        results = Benchmark(model, DataLoader(data, batch_size=batch), [], [], metrics).run(quiet=True)
    operations = results["SynapticOperations"]
    figures = {
        "parameters": results["ParameterCount"],
        "footprint_bytes": results["Footprint"],
        "connection_sparsity": results["ConnectionSparsity"],
        "activation_sparsity": results["ActivationSparsity"],
        "effective_macs": operations["Effective_MACs"],
        "effective_acs": operations["Effective_ACs"],
        "dense": operations["Dense"],
    }
    steps = inputs.shape[1]
    batches = [[np.stack(z[start : start + steps], 1) for start in range(0, len(z), steps)] for z in seen]
    return figures, [np.concatenate(of_layer) for of_layer in batches]


def compare(case: Case) -> dict[str, Figures]:
    """Return the figures of a case: ours, and NeuroBench's for two batch sizes."""
    inputs = case.inputs.astype(np.float64)
    network, variables = build(case.pruned)
    total = measure_costs(network, variables, inputs)[-1]._asdict()
    expected = spikes_of(network, variables, jnp.asarray(inputs))
    figures_by_source = {"ours": {name: total[name] for name in FIGURES}}
    for batch in (1, SAMPLES):
        figures, seen = of_neurobench(network, variables, inputs, batch)
        if not all(map(np.array_equal, seen, expected)):
            sys.exit("error: the PyTorch copy of the network spikes differently; the figures cannot be compared")
        figures_by_source[f"neurobench, batches of {batch}"] = figures
    return figures_by_source


def equal(ours: Figures, theirs: Figures) -> bool:
    """Return whether figures are equal, up to the rounding of NeuroBench's connection sparsity and batch means."""
    tolerances = {name: 6e-5 if name == "connection_sparsity" else 1e-12 for name in FIGURES}
    return all(math.isclose(ours[name], theirs[name], rel_tol=1e-12, abs_tol=tolerances[name]) for name in FIGURES)


def main(_: Sequence[str]) -> None:
    jax.config.update("jax_enable_x64", True)
    packages = {name: importlib.metadata.version(name) for name in ("neurobench", "snntorch", "torch")}
    result: dict[str, Any] = {
        "versions": versions() | packages,
        "samples": SAMPLES,
        "steps": STEPS,
        "channels": CHANNELS,
        "hidden": HIDDEN,
        "classes": CLASSES,
        "cases": {},
    }
    lines = [("case", "figures of", *(name.replace("_", " ") for name in FIGURES), "to ours")]
    for name, case in cases().items():
        progress(name)
        result["cases"][name] = figures_by_source = compare(case)
        for source, figures in figures_by_source.items():
            same = "equal" if equal(figures_by_source["ours"], figures) else "other"
            values = (f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" for value in figures.values())
            lines.append((name, source, *values, "" if source == "ours" else same))
    progress("")
    print(align(lines))
    save(result, OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
