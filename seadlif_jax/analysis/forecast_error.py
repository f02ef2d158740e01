"""How well a network forecasts: its predictions, and their squared error as it grows along the trajectory.

A prediction is compared with that of zero everywhere, the mean of a signal that swings about it.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PyTree

from seadlif_jax import losses as readout
from seadlif_jax.data.samples import Samples
from seadlif_jax.nn.network import Network

WINDOW_MS = 25.0
WINDOW_STEPS = 10  # where steps stand for no time


class Errors(NamedTuple):
    """Mean squared errors of predictions for a split, over its samples and channels.

    Attributes:
      steps: of every step, those of block 0 included.
      second_half: of the steps in which the network is fed its own output, those of block 0 left out: the metric `mse`.
    """

    steps: Float[Array, " time"]
    second_half: Float[Array, ""]


class Windows(NamedTuple):
    """Pieces of equal length of a trajectory.

    Attributes:
      edges: where they begin and end, `[window + 1]` in `unit`; a piece holds its end, but not its beginning.
      of_step: `[time]`, the piece that the prediction of each step is of.
      unit: "ms" or "steps".
    """

    edges: np.ndarray
    of_step: np.ndarray
    unit: str

    def mean(self, steps: Num[Array, " time"]) -> np.ndarray:
        """The mean of each piece, `[window]`."""
        return np.bincount(self.of_step, np.asarray(steps)) / np.bincount(self.of_step)


def predict(
    network: Network, variables: PyTree[Array], inputs: Num[Array, "sample time channel"]
) -> Float[Array, "sample time channel"]:
    """The prediction `y_t` of the input at t + 1, from the network's own output in the second half."""
    outputs: Any = network.apply(variables, inputs, readout.feedback_start(inputs.shape[1]), method="forecast")
    return outputs


def errors(outputs: Float[Array, "sample time channel"], samples: Samples) -> Errors:
    """The squared errors of predictions for these samples."""
    steps = jnp.mean((outputs - samples.targets[:, 1:]) ** 2, axis=(0, 2))
    return Errors(steps, readout.forecast(outputs, samples.block_index, samples.targets).mean_score())


def cut(num_steps: int, step_ms: float | None) -> Windows:
    """Cuts a trajectory of `num_steps` predictions into windows of 25 ms; of 10 steps, if they stand for no time.

    The trajectory begins at time 0 with the first input; the prediction of step t is of time t + 1. A window is never
    shorter than a step.

    >>> cut(6, 10.0).of_step  # of 10, 20, ... 60 ms
    array([0, 0, 1, 1, 1, 2])
    """
    step, width = (1.0, float(WINDOW_STEPS)) if step_ms is None else (step_ms, max(WINDOW_MS, step_ms))
    # Rounded, for the times that are the end of a window but for float's last bits.
    of_step = np.ceil(np.round(step / width * np.arange(1, num_steps + 1), 9)).astype(int).clip(1) - 1
    return Windows(width * np.arange(of_step[-1] + 2), of_step, "steps" if step_ms is None else "ms")
