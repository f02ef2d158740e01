"""Networks as files of NIR, the neuromorphic intermediate representation, which other libraries read.

Each layer is a node `Affine` (input weights and bias), a node `LIF`, and with recurrence a node `Linear` from its
spikes back to it; the readout is an `Affine` and an `LI`. NIR's neurons follow `tau dv/dt = -v + I` in seconds. With
the step `dt`, `tau = dt / (1 - alpha)`: by the explicit Euler method, which readers of NIR use, this is our step.

NIR has no adaptive neurons. Their layers are written as `LIF` only on request, with what makes them adaptive in the
metadata of the node, which `read_nir` restores and other readers ignore.

Source: Pedersen et al. (2024, "Neuromorphic intermediate representation", Nature Communications 15, 8122).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nir
import numpy as np

from seadlif_jax.device import DeviceError, DeviceLayer

ADAPTATION = ("beta", "a", "b")


def write_nir(layers: Sequence[DeviceLayer], path: Path, step_ms: float = 1.0, metadata: bool = False) -> None:
    """Write a network.

    Args:
      layers: of `device_layers`.
      path: file to write.
      step_ms: duration of a step.
      metadata: write adaptive neurons as LIF neurons, and their adaptation as metadata.

    Raises:
      DeviceError: there are adaptive neurons, and `metadata` is False; or a step has no duration.
    """
    if not step_ms > 0:
        raise DeviceError(f"step_ms = {step_ms}: the duration of a step must be positive")
    adaptive = sorted({layer.neuron for layer in layers if layer.beta is not None})
    if adaptive and not metadata:
        raise DeviceError(
            f"NIR has no {' or '.join(adaptive)} neurons: other libraries would compute another network. With "
            "--nir_metadata, they are written as LIF neurons whose adaptation only this library reads"
        )
    dt = step_ms / 1000
    nodes: dict[str, Any] = {"input": nir.Input(np.array([layers[0].channels]))}
    edges, last = [], "input"
    for index, layer in enumerate(layers):
        name = "readout" if layer.neuron == "readout" else f"layer_{index}"
        nodes[f"{name}_input"] = nir.Affine(layer.kernel.T, layer.bias)
        nodes[name] = _neurons(layer, dt)
        edges += [(last, f"{name}_input"), (f"{name}_input", name)]
        if layer.recurrent_kernel is not None:
            nodes[f"{name}_recurrent"] = nir.Linear(layer.recurrent_kernel.T)
            edges += [(name, f"{name}_recurrent"), (f"{name}_recurrent", name)]
        last = name
    nodes["output"] = nir.Output(np.array([layers[-1].size]))
    nir.write(path, nir.NIRGraph(nodes, [*edges, (last, "output")], metadata={"dt": dt}))


def read_nir(path: Path) -> tuple[DeviceLayer, ...]:
    """Return the layers of a file of `write_nir`, exactly as they were written.

    Raises:
      DeviceError: the file is missing, damaged, or of another program.
    """
    if not Path(path).is_file():
        raise DeviceError(f"{path}: there is no such file")
    try:
        graph = nir.read(path)
        dt = float(graph.metadata["dt"])
        names = [name for name in graph.nodes if name.startswith("layer_") and name.count("_") == 1]
        return tuple(_layer(graph.nodes, name, dt) for name in [*sorted(names, key=_number), "readout"])
    except Exception as error:  # nir and h5py raise many types
        raise DeviceError(f"{path} is no network that `seadlif export --format=nir` has written ({error!r})") from error


def _number(name: str) -> int:
    return int(name.removeprefix("layer_"))


def _neurons(layer: DeviceLayer, dt: float) -> Any:
    """Return the node of a layer's neurons."""
    tau = dt / (1 - layer.alpha.astype(np.float64))
    ones, zeros = np.ones(layer.size), np.zeros(layer.size)
    if layer.threshold is None:
        return nir.LI(tau=tau, r=ones, v_leak=zeros)
    metadata: dict[str, Any] = {"neuron": layer.neuron}
    if layer.beta is not None:
        metadata |= {name: getattr(layer, name) for name in ADAPTATION}
    threshold = layer.threshold.astype(np.float64)
    return nir.LIF(tau=tau, r=ones, v_leak=zeros, v_threshold=threshold, v_reset=zeros, metadata=metadata)


def _layer(nodes: dict[str, Any], name: str, dt: float) -> DeviceLayer:
    neurons, affine, recurrent = nodes[name], nodes[f"{name}_input"], nodes.get(f"{name}_recurrent")
    neuron = neurons.metadata.get("neuron", b"readout")
    return DeviceLayer(
        neuron=neuron.decode() if isinstance(neuron, bytes) else neuron,
        kernel=affine.weight.T.copy(),
        bias=affine.bias,
        recurrent_kernel=None if recurrent is None else recurrent.weight.T.copy(),
        alpha=(1 - dt / neurons.tau).astype(np.float32),
        threshold=None if name == "readout" else neurons.v_threshold.astype(np.float32),
        **{field: neurons.metadata.get(field) for field in ADAPTATION},
    )
