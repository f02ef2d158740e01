"""The training step of all PyTorch implementations: eager, Adam on clipped gradients, on all cores or a GPU."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.shapes import Shape, random_samples
from benchmarks.workers import Subject


class Batch(NamedTuple):
    """A batch on the device: `inputs [batch, time, channel]`, `targets [batch, block]`, `block_index [batch, time]`."""

    inputs: Any
    targets: Any
    block_index: Any


def subject(
    shape: Shape,
    model: Any,
    scores_and_loss: Callable[[Batch], tuple[Any, Any]],
    after_step: Callable[[], object] = lambda: None,
) -> Subject:
    """Return training and inference of a module on one batch.

    Args:
      shape: network and sizes.
      model: the `torch.nn.Module` with all the parameters.
      scores_and_loss: returns the scores of the classes (last axis) and the loss of a batch.
      after_step: called after each step of the optimizer.
    """
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    model.to(device)
    samples = random_samples(shape, shape.batch_size)
    batch = Batch(
        torch.from_numpy(samples.inputs).to(device, torch.float32),
        torch.from_numpy(samples.targets).to(device, torch.int64),
        torch.from_numpy(samples.block_index).to(device, torch.int64),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=shape.config.optimizer.learning_rate)

    def train_step(count):
        model.train()
        for _ in range(count):
            optimizer.zero_grad()
            scores_and_loss(batch)[1].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), shape.config.optimizer.clip_norm)
            optimizer.step()
            after_step()
        wait()

    def inference(count):
        model.eval()
        with torch.inference_mode():
            for _ in range(count):
                scores_and_loss(batch)[0].argmax(dim=-1)
        wait()

    def wait():
        if cuda:
            torch.cuda.synchronize()

    return Subject(
        train_step,
        inference,
        epoch=None,
        device=torch.cuda.get_device_name() if cuda else "cpu",
        device_peak_mib=lambda: torch.cuda.max_memory_allocated() / 2**20 if cuda else None,
        compiler_mib=None,
    )


def block_scores_and_loss(shape: Shape, outputs: Any, batch: Batch) -> tuple[Any, Any]:
    """Return scores and loss from the readout `[time, batch, class]`: of every step, or of all answering steps."""
    import torch

    labels = batch.targets[:, 1:]
    if shape.answer_from is None:
        scores = outputs.transpose(0, 1)
    else:
        answers = outputs[shape.answer_from :]
        softmax = shape.config.model.aggregation == "softmax"
        scores = (answers.softmax(dim=-1).sum(dim=0) if softmax else answers.mean(dim=0))[:, None]
    return scores, torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten())
