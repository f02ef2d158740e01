"""The optimizer, the factors of the learning rate, and the average of the parameters. All of it is optax's.

The learning rate of a step is `optimizer.learning_rate` times the factor of the schedule, that of the warm-up, that of
the plateau, and that of the retries after divergence.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from seadlif_jax.neurons import Scalar


class AverageState(NamedTuple):
    """State of `parameter_average`: the number of steps, and the average."""

    num_steps: Int[Array, ""]
    average: PyTree[Array]


def clipped_adam(
    learning_rate: Scalar,
    clip_norm: float,
    weight_decay: Scalar | None = None,
    average: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Return Adam on gradients clipped to a global norm; the learning rate, which may be traced, is in its state.

    Args:
      learning_rate: may be changed by `set_learning_rate`.
      clip_norm: largest norm of the gradients.
      weight_decay: AdamW's, of the weights only: matrices, and not biases or parameters of neurons. None for Adam.
      average: of `parameter_average`; None for none.
    """

    @optax.inject_hyperparams
    def adam(learning_rate):
        steps = [optax.clip_by_global_norm(clip_norm)]
        if weight_decay is None:
            steps.append(optax.adam(learning_rate))
        else:
            steps.append(optax.adamw(learning_rate, weight_decay=weight_decay, mask=_is_weight))
        return optax.chain(*steps, *([] if average is None else [average]))

    return adam(learning_rate=learning_rate)


def _is_weight(params: PyTree[Array]) -> PyTree[bool]:
    return jax.tree.map(lambda array: array.ndim > 1, params)


def set_learning_rate(opt_state: Any, learning_rate: Float[Array, ""]) -> Any:
    """Return the optimizer state with another learning rate."""
    return opt_state._replace(hyperparams={**opt_state.hyperparams, "learning_rate": learning_rate})


def cosine_factor(step: Int[Array, ""], num_steps: int) -> Float[Array, ""]:
    """Return the factor of the learning rate in a step, from 0: `(1 + cos(pi step / num_steps)) / 2`."""
    return optax.cosine_decay_schedule(1.0, num_steps)(step)


def warmup_factor(step: Int[Array, ""], warmup_steps: Scalar) -> Float[Array, ""]:
    """Return the factor of the learning rate in a step, from 0: `(step + 1) / warmup_steps`, and then 1."""
    return jnp.minimum(1.0, (step + 1) / jnp.maximum(warmup_steps, 1.0))


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


def parameter_average(decay: Scalar, project: Callable[[PyTree[Array]], PyTree[Array]]) -> optax.GradientTransformation:
    """Return the last transformation of an optimizer: it changes no update, and averages the parameters they lead to.

    The average weighs the parameters of `n` steps ago with `decay ** n`, and the weights sum to 1 from the first step
    on: without a bias towards the initial parameters.

    Args:
      decay: in [0, 1); 0 for the last parameters only.
      project: moves parameters back within their bounds after an update. The average of parameters within bounds is
        within them, too, but for rounding.
    """

    def init(params: PyTree[Array]) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), params)

    def update(updates: Any, state: AverageState, params: Any = None) -> tuple[Any, AverageState]:
        num_steps = state.num_steps + 1
        new_params = project(optax.apply_updates(params, updates))
        average = optax.incremental_update(new_params, state.average, (1 - decay) / (1 - decay**num_steps))
        return updates, AverageState(num_steps, project(average))

    return optax.GradientTransformation(init, update)


def averaged_parameters(opt_state: Any) -> PyTree[Array] | None:
    """Return the average of the parameters in the state of an optimizer; None if it has none."""
    return optax.tree.get(opt_state, "average", None)
