"""Oscillation: forecast the displacements of masses on springs; generated, by seed, from the analytic solution.

Masses in a row between two walls, each joined to its neighbours by springs: `M x'' + C x' + K x = 0`. One system of
masses and springs is drawn for the whole data set, and a new start for every trajectory. The network sees the
displacements step by step and predicts the next ones; from the middle on, it is fed its own predictions. (Baronig et
al., section on the prediction of a spring-mass system.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from seadlif_jax.data.dataset import LAST, DataError, Dataset, Split, check_protocol, divide_generated
from seadlif_jax.data.fields import check_fields, is_number, is_whole

# Fields of `config.data` beyond those that all tasks share.
FIELDS = (
    "num_masses", "mass", "spring", "damping", "initial_velocity", "num_samples", "num_steps", "ignore_first_steps",
)  # fmt: skip


class SpringSystem(NamedTuple):
    """Masses in a row between two walls.

    Attributes:
      mass: `[mass]`, kg.
      spring: `[mass + 1]` stiffnesses, N/m: spring i is left of mass i, the last one right of the last mass.
      damping: `[mass]` viscous damping constants, kg/s: mass i is slowed by the force `damping[i] x_i'`.
    """

    mass: np.ndarray
    spring: np.ndarray
    damping: np.ndarray

    def stiffness(self) -> np.ndarray:
        """Return `K [mass, mass]`, N/m: the springs pull the masses with the forces `-K x`."""
        between = np.diag(self.spring[1:-1], 1)
        return np.diag(self.spring[:-1] + self.spring[1:]) - between - between.T


def load(config: Any) -> Dataset:
    """Return trajectories generated with the settings in `config.data`.

    `mass`, `spring` and `damping` are the ranges (min, max) that the system is drawn from by `seed`, see `draw_system`;
    initial displacements are normal (variance 1), initial velocities normal with standard deviation
    `initial_velocity`. The first `ignore_first_steps` steps are block 0, which does not count in the loss.

    Raises:
      DataError: a field of `config.data` is out of range.
    """
    data = config.data
    _check(data)
    rng = np.random.default_rng(data.seed)
    system = draw_system(rng, data.num_masses, data.mass, data.spring, data.damping)
    positions = rng.normal(size=(data.num_samples, data.num_masses))
    velocities = rng.normal(scale=data.initial_velocity, size=positions.shape)
    # One point more than steps, the target of the last step.
    seconds = data.step_ms / 1000 * np.arange(data.num_steps + 1)
    with np.errstate(all="ignore"):
        trajectories = displacements(system, positions, velocities, seconds).astype(np.float32)
    if not np.isfinite(trajectories).all():
        raise DataError(
            "the trajectories are too large for float32: config.data.mass is too small, or config.data.spring, "
            "config.data.initial_velocity or config.data.step_ms too large"
        )

    block_index = (np.arange(data.num_steps) >= data.ignore_first_steps).astype(np.uint8)
    samples = Split(
        inputs=trajectories[:, :-1],
        targets=trajectories,  # one step later than the inputs; the first is a dummy
        block_index=np.broadcast_to(block_index, (data.num_samples, data.num_steps)),
    )
    return divide_generated(samples, data.validation, train=0.8, test=0.1, noun="trajectories")


def draw_system(
    rng: np.random.Generator,
    num_masses: int,
    mass: tuple[float, float],
    spring: tuple[int, int],
    damping: tuple[float, float],
) -> SpringSystem:
    """Return a system drawn uniformly from ranges (min, max): masses in kg, springs in whole N/m, damping in kg/s."""
    return SpringSystem(
        spring=rng.integers(*spring, size=num_masses + 1, endpoint=True).astype(float),
        mass=rng.uniform(*mass, num_masses),
        damping=rng.uniform(*damping, num_masses),
    )


def propagators(system: SpringSystem, seconds: np.ndarray) -> np.ndarray:
    """Return matrices `[time, 2 mass, 2 mass]` that map the state `(x, x')` at time 0 to that at each time."""
    per_mass = 1 / system.mass[:, None]
    rates = np.block(
        [
            [np.zeros((len(system.mass), len(system.mass))), np.eye(len(system.mass))],
            [-per_mass * system.stiffness(), -per_mass * np.diag(system.damping)],
        ]
    )
    return scipy.linalg.expm(seconds[:, None, None] * rates)


def displacements(
    system: SpringSystem, positions: np.ndarray, velocities: np.ndarray, seconds: np.ndarray
) -> np.ndarray:
    """Return displacements `[sample, time, mass]` at these times, in the unit of `positions`.

    Args:
      system: the masses and springs.
      positions: displacements at time 0, `[sample, mass]`.
      velocities: at time 0, `[sample, mass]`, in the unit of `positions` a second.
      seconds: the times, `[time]`.
    """
    start = np.concatenate([positions, velocities], axis=1)
    return np.einsum("tij,sj->sti", propagators(system, seconds)[:, : len(system.mass)], start)


def _check(data: Any) -> None:
    check_protocol(data.validation, ("held_out", LAST))
    lows = {"num_masses": 1, "num_samples": 10, "num_steps": 2}
    check_fields(
        data, {name: (is_whole(data[name], low), f"a whole number of at least {low}") for name, low in lows.items()}
    )
    requirements = {
        "mass": (
            _is_range(data.mass) and data.mass[0] > 0,
            "a pair (min, max) of kg with 0 < min <= max, such as (1.0, 1.0)",
        ),
        "spring": (
            _is_range(data.spring, is_whole) and data.spring[0] > 0 and data.spring[1] < 2**31,
            "a pair (min, max) of whole N/m with 0 < min <= max, such as (500, 10000)",
        ),
        "damping": (
            _is_range(data.damping) and data.damping[0] >= 0,
            "a pair (min, max) of kg/s with 0 <= min <= max, such as (0.0, 0.0)",
        ),
        "initial_velocity": (
            is_number(data.initial_velocity, 0),
            "a standard deviation of at least 0; 0 starts the masses at rest",
        ),
        "step_ms": (data.step_ms is not None, "the milliseconds between two steps, such as 2.5"),
        "ignore_first_steps": (
            is_whole(data.ignore_first_steps, 0, data.num_steps - 1),
            f"in 0..{data.num_steps - 1}, below config.data.num_steps",
        ),
    }
    check_fields(data, requirements)


def _is_range(value: Any, is_kind: Callable[[Any], bool] = is_number) -> bool:
    """Return whether a value is a pair (min, max) of numbers of this kind."""
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(is_kind, value)) and value[0] <= value[1]
