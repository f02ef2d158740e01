"""The optimizer: clipped Adam and the plateau schedule. All of it is optax."""

from typing import Any

import optax
from jaxtyping import Array, Float


def clipped_adam(learning_rate: Float[Array, ""] | float, clip_norm: float) -> optax.GradientTransformationExtraArgs:
    """Return Adam on gradients clipped to a global norm; the learning rate, which may be traced, is in its state."""

    @optax.inject_hyperparams
    def adam(learning_rate):
        return optax.chain(optax.clip_by_global_norm(clip_norm), optax.adam(learning_rate))

    return adam(learning_rate=learning_rate)


def set_learning_rate(opt_state: Any, learning_rate: Float[Array, ""]) -> Any:
    """Return the optimizer state with another learning rate."""
    return opt_state._replace(hyperparams={**opt_state.hyperparams, "learning_rate": learning_rate})


def plateau_schedule(factor: float, patience: int) -> optax.GradientTransformationExtraArgs:
    """Return a schedule: times `factor` after more than `patience` epochs without progress.

    Progress is a loss that is better by a relative 1e-4. The factor to apply is the `scale` of its state, which
    `update_plateau` advances.
    """
    # optax reduces at the patience-th bad epoch, the reference's scheduler at the one after it.
    return optax.contrib.reduce_on_plateau(factor=factor, patience=patience + 1, rtol=1e-4, atol=0.0)


def update_plateau(schedule: optax.GradientTransformationExtraArgs, state: Any, loss: Float[Array, ""]) -> Any:
    """Return the schedule's state after an epoch that ended with this validation loss."""
    return schedule.update(updates={}, state=state, value=loss)[1]
