"""The neurons of other papers in the programs that introduced them, in PyTorch: one layer, then a readout.

None of their code is here: they are imported from checkouts in one folder, each under the name of its repository, or
from their package. Where a program has a readout for every step, it is used; otherwise, a linear one without leak.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers import torch_training
from benchmarks.shapes import Shape
from benchmarks.workers import Subject

REQUIRES = ("torch", "snntorch")


def build(shape: Shape, neuron: str, folder: str) -> Subject:
    """Return the measured functions of the program of a neuron; `folder` has the checkouts."""
    model = NETWORKS[neuron](shape, Path(folder))
    return torch_training.subject(
        shape, model, lambda batch: torch_training.block_scores_and_loss(shape, model(batch.inputs), batch)
    )


def _resonate(name: str) -> Callable[[Shape, Path], Any]:
    """Return what builds a network of AdaptiveAILab/brf-neurons, without TorchScript, which no longer compiles it."""

    def network(shape: Shape, folder: Path) -> Any:
        sys.path.insert(0, str(folder / "brf-neurons"))
        models = importlib.import_module("snn.models")
        program = getattr(models, name)(shape.channels, shape.hidden[0], shape.num_classes)
        return _module(program, lambda inputs: program(inputs.transpose(0, 1))[0])

    return network


def _layer(repository: str, module: str, name: str) -> Callable[[Shape, Path], Any]:
    """Return what builds a layer of idiap/sparch, or of the program that is based on it, without normalisation."""

    def network(shape: Shape, folder: Path) -> Any:
        import torch

        sys.path.insert(0, str(folder / repository))
        layer = getattr(importlib.import_module(module), name)
        width = shape.hidden[0]
        spiking = layer(shape.channels, width, shape.batch_size, normalization="none", use_bias=True)
        readout = torch.nn.Linear(width, shape.num_classes)
        model = torch.nn.Sequential(spiking, readout)
        return _module(model, lambda inputs: model(inputs).transpose(0, 1))

    return network


def _synaptic(shape: Shape, folder: Path) -> Any:
    """Return a network of snnTorch: its `RSynaptic`, and a loop over the steps, as in its documentation."""
    del folder
    import snntorch
    import torch

    width = shape.hidden[0]
    inputs_to = torch.nn.Linear(shape.channels, width)
    neurons = snntorch.RSynaptic(0.8, 0.9, linear_features=width)
    readout = torch.nn.Linear(width, shape.num_classes)

    def forward(inputs: Any) -> Any:
        state, outputs = neurons.reset_mem(), []
        for x in inputs.unbind(1):
            state = neurons(inputs_to(x), *state)
            outputs.append(readout(state[0]))
        return torch.stack(outputs)

    return _module(torch.nn.ModuleList([inputs_to, neurons, readout]), forward)


def _module(owner: Any, forward: Callable[[Any], Any]) -> Any:
    """Return a module with the parameters of another one."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.owner = owner

        def forward(self, inputs):
            return forward(inputs)

    return Net()


NETWORKS: dict[str, Callable[[Shape, Path], Any]] = {
    "alif": _resonate("SimpleALIFRNN"),
    "brf": _resonate("SimpleResRNN"),
    "radlif": _layer("sparch", "sparch.models.snns", "RadLIFLayer"),
    "silif": _layer("SSM-inspired-LIF", "models.snns", "SiLIFLayer"),
    "synaptic_lif": _synaptic,
}
