"""The networks and sizes of the tasks, with random events instead of their data."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from configs import bsd, ecg, shd, ssc
from data.bsd import ANSWER_STEPS, NUM_CHANNELS, NUM_STEPS
from seadlif_jax.data.dataset import Split


class Shape(NamedTuple):
    """A network and the size of the data it is trained on.

    Attributes:
      config: batch size, network and optimizer.
      steps, channels: of a sample.
      train, validation: samples of an epoch.
      answer_from: the first step that counts for the sample's one label; None where every step has a label.
      rate: mean number of events per channel and step. For SHD and SSC, as many steps of a channel have an event as in
        recordings of spoken digits (8 %), which come in bursts.
      whole_epochs: whether an epoch is short enough to be run, and not only derived from its steps.
    """

    config: ConfigDict
    steps: int
    channels: int
    train: int
    validation: int
    answer_from: int | None
    rate: float
    whole_epochs: bool

    @property
    def batch_size(self) -> int:
        return self.config.batch_size

    @property
    def hidden(self) -> tuple[int, ...]:
        return tuple(self.config.model.hidden)

    @property
    def num_classes(self) -> int:
        return self.config.data.num_classes

    @property
    def gflop(self) -> float:
        """Gflop of the matrix products in the forward pass of a batch; training takes three times as many."""
        pairs = itertools.pairwise((self.channels, *self.hidden, self.num_classes))
        weights = sum(m * n for m, n in pairs) + sum(width**2 for width in self.hidden)
        return 2e-9 * weights * self.batch_size * self.steps

    @property
    def steps_per_epoch(self) -> int:
        """Number of training steps; the last partial batch is dropped."""
        return self.train // self.batch_size

    @property
    def validation_batches(self) -> int:
        return -(-self.validation // self.batch_size)

    def as_dict(self) -> dict[str, Any]:
        return {
            "batch": self.batch_size,
            "steps": self.steps,
            "channels": self.channels,
            "neurons": self.hidden,
            "classes": self.num_classes,
            "labels_per_sample": self.steps if self.answer_from is None else 1,
            "train_samples": self.train,
            "validation_samples": self.validation,
        }

    def __str__(self) -> str:
        neurons = " + ".join(map(str, self.hidden))
        return (
            f"batch {self.batch_size}, {self.steps} steps, {self.channels} channels, {neurons} neurons, "
            f"{self.num_classes} classes{' at every step' if self.answer_from is None else ''}"
        )


def _heidelberg(config: ConfigDict, train: int, validation: int, whole_epochs: bool) -> Shape:
    """Return the shape of SHD or SSC; the numbers of recordings are those of the files, after the split."""
    data = config.data
    return Shape(config, data.pad_to, data.num_channels, train, validation, data.ignore_first_steps, 0.08, whole_epochs)


def _bsd(config: ConfigDict) -> Shape:
    train, validation = round(0.7 * config.data.num_samples), round(0.1 * config.data.num_samples)
    return Shape(config, NUM_STEPS, NUM_CHANNELS, train, validation, NUM_STEPS - ANSWER_STEPS, 0.1, True)


SHAPES = {
    "shd_small": _heidelberg(shd.get_config("small"), 6525, 1631, whole_epochs=True),
    "bsd": _bsd(bsd.get_config()),
    "ecg": Shape(ecg.get_config(), 1301, 4, 587, 31, answer_from=None, rate=0.1, whole_epochs=True),
    "shd": _heidelberg(shd.get_config(), 6525, 1631, whole_epochs=False),
    "ssc": _heidelberg(ssc.get_config(), 75_466, 9_981, whole_epochs=False),
}


def refuse_unknown(names: Sequence[str]) -> None:
    """Exit with an error unless all are names of shapes."""
    for name in names:
        if name not in SHAPES:
            sys.exit(f"error: --shapes: {name!r} is not one of {', '.join(SHAPES)}")


def random_samples(shape: Shape, count: int) -> Split:
    """Return random event counts and labels in the layout of the task."""
    rng = np.random.default_rng(0)
    size = (shape.steps, shape.channels)
    inputs = np.stack([rng.poisson(shape.rate, size).astype(np.uint8) for _ in range(count)])
    if shape.answer_from is None:
        block_index, num_targets = np.arange(1, shape.steps + 1, dtype=np.int16), shape.steps
    else:
        block_index, num_targets = (np.arange(shape.steps) >= shape.answer_from).astype(np.uint8), 1
    labels = rng.integers(shape.num_classes, size=(count, num_targets))
    return Split(
        inputs=inputs,
        targets=np.concatenate([np.full((count, 1), -1), labels], axis=1).astype(np.int16),
        block_index=np.tile(block_index, (count, 1)),
    )
