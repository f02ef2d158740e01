"""Recurrent LIF neurons in Norse: its layers run over time, one after the other.

Without dropout, with the library's default parameters, which are fixed. Its neurons have a synaptic current besides the
membrane potential.
"""

import itertools

from benchmarks.peers import torch_training
from benchmarks.shapes import Shape
from benchmarks.workers import Subject

REQUIRES = ("torch", "norse")


def build(shape: Shape) -> Subject:
    import torch
    from norse import torch as norse

    model = norse.SequentialState(
        *(norse.LIFRecurrent(*size) for size in itertools.pairwise((shape.channels, *shape.hidden))),
        torch.nn.Linear(shape.hidden[-1], shape.num_classes),
        norse.LI(),
    )

    def scores_and_loss(batch):
        outputs, _ = model(batch.inputs.transpose(0, 1))
        return torch_training.block_scores_and_loss(shape, outputs, batch)

    return torch_training.subject(shape, model, scores_and_loss)
