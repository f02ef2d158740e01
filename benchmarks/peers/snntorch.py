"""Recurrent LIF neurons in snnTorch: `RLeaky` layers and a loop over the steps, as in its documentation.

Without dropout, with the library's default surrogate gradient and fixed time constants.
"""

import itertools

from benchmarks.peers import torch_training
from benchmarks.shapes import Shape
from benchmarks.workers import Subject

REQUIRES = ("torch", "snntorch")
BETA = 0.9  # value in the examples of its documentation


def build(shape: Shape) -> Subject:
    import snntorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            sizes = tuple(itertools.pairwise((shape.channels, *shape.hidden)))
            self.inputs = torch.nn.ModuleList(torch.nn.Linear(*size) for size in sizes)
            self.neurons = torch.nn.ModuleList(snntorch.RLeaky(BETA, linear_features=size) for _, size in sizes)
            self.output = torch.nn.Linear(shape.hidden[-1], shape.num_classes)
            self.readout = snntorch.Leaky(BETA, reset_mechanism="none")

        def forward(self, inputs):
            states = [neurons.reset_mem() for neurons in self.neurons]
            membrane = self.readout.reset_mem()
            outputs = []
            for x in inputs.unbind(1):
                for index, (project, neurons) in enumerate(zip(self.inputs, self.neurons, strict=True)):
                    states[index] = neurons(project(x), *states[index])
                    x = states[index][0]
                _, membrane = self.readout(self.output(x), membrane)
                outputs.append(membrane)
            return torch.stack(outputs)

    model = Net()
    return torch_training.subject(
        shape, model, lambda batch: torch_training.block_scores_and_loss(shape, model(batch.inputs), batch)
    )
