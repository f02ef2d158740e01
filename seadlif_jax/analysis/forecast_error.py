"""Error of a forecast: the squared error of the predictions as it grows along the trajectory.

It is compared with the error of predicting zero everywhere, the mean of a signal that swings about it.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.losses import forecast

WINDOW_MS = 25.0
WINDOW_STEPS = 10  # where steps stand for no time


class ForecastError(NamedTuple):
    """Mean squared errors of predictions, over samples and channels.

    Attributes:
      steps: error of every step, block 0 included.
      second_half: mean over the steps in which the network is fed its own output, without block 0: the metric `mse`.
    """

    steps: Float[Array, " time"]
    second_half: Float[Array, ""]


class Windows(NamedTuple):
    """Windows of equal length along a trajectory.

    Attributes:
      edges: where they begin and end, `[window + 1]` in `unit`; a window holds its end, but not its beginning.
      of_step: window of each step's prediction, `[time]`.
      unit: "ms" or "steps".
    """

    edges: np.ndarray
    of_step: np.ndarray
    unit: str

    def mean(self, steps: Num[Array, " time"]) -> np.ndarray:
        """Return the mean of each window, `[window]`."""
        return np.bincount(self.of_step, np.asarray(steps)) / np.bincount(self.of_step)


def squared_errors(outputs: Float[Array, "sample time channel"], samples: Samples) -> ForecastError:
    """Return the squared errors of predictions `y_t` of the inputs of these samples at t + 1."""
    steps = jnp.mean((outputs - samples.targets[:, 1:]) ** 2, axis=(0, 2))
    return ForecastError(steps, forecast(outputs, samples.block_index, samples.targets).mean_score())


def cut_windows(num_steps: int, step_ms: float | None) -> Windows:
    """Cut a trajectory of `num_steps` predictions into windows of 25 ms, or of 10 steps if they stand for no time.

    The trajectory begins at time 0 with the first input; the prediction of step t is for time t + 1. A window is never
    shorter than a step.

    >>> cut_windows(6, 10.0).of_step  # predictions for 10, 20, ... 60 ms
    array([0, 0, 1, 1, 1, 2])
    """
    step, width = (1.0, float(WINDOW_STEPS)) if step_ms is None else (step_ms, max(WINDOW_MS, step_ms))
    # Rounded, for times at the end of a window but for float's last bits.
    of_step = np.ceil(np.round(step / width * np.arange(1, num_steps + 1), 9)).astype(int).clip(1) - 1
    return Windows(width * np.arange(of_step[-1] + 2), of_step, "steps" if step_ms is None else "ms")
