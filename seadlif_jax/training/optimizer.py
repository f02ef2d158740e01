"""The optimizer, the factors of the learning rate, and the average of the parameters, built from optax.

The learning rate of a step is `optimizer.learning_rate` times five factors: of the schedule, the first updates, the
warm-up, the plateau, and the retries after divergence.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

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
      learning_rate: initial value; `set_learning_rate` changes it.
      clip_norm: largest norm of the gradients.
      weight_decay: decoupled, as in AdamW (Loshchilov & Hutter, 2019): each step also multiplies matrices by
        `1 - learning_rate * weight_decay`. Biases and neuron parameters are vectors, and do not decay. None for none.
      average: a transformation of `parameter_average`; None for none.
    """

    @optax.inject_hyperparams
    def adam(learning_rate):
        inner = optax.adam(learning_rate)
        if weight_decay is not None:
            inner = optax.adamw(learning_rate, weight_decay=weight_decay, mask=_is_weight)
        return optax.chain(optax.clip_by_global_norm(clip_norm), inner, *([] if average is None else [average]))

    return adam(learning_rate=learning_rate)


def _is_weight(params: PyTree[Array]) -> PyTree[bool]:
    return jax.tree.map(lambda array: array.ndim > 1, params)


def set_learning_rate(opt_state: Any, learning_rate: Float[Array, ""]) -> Any:
    """Return the optimizer state with another learning rate."""
    return opt_state._replace(hyperparams={**opt_state.hyperparams, "learning_rate": learning_rate})


def cosine_factor(step: Int[Array, ""], num_steps: int) -> Float[Array, ""]:
    """Return the cosine factor of step `step` (from 0): `(1 + cos(pi step / num_steps)) / 2`."""
    return optax.cosine_decay_schedule(1.0, num_steps)(step)


def warmup_factor(step: Int[Array, ""], warmup_steps: Scalar) -> Float[Array, ""]:
    """Return the warm-up factor of step `step` (from 0): `min(1, (step + 1) / max(1, warmup_steps))`."""
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
    """Return a transformation, the last of an optimizer, that averages the parameters after each step.

    It leaves the updates as they are. With `p_i` the parameters after step `i`, the average after step `t` is
    `sum_i decay^(t-i) p_i / sum_i decay^(t-i)`: the initial parameters have no part in it.

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
    """Return the average of the parameters in the state of `clipped_adam`; None if it has none."""
    last = opt_state.inner_state[-1]
    return last.average if isinstance(last, AverageState) else None


def replace_average(opt_state: Any, average: PyTree[Array]) -> Any:
    """Return the state of `clipped_adam` with another average of the parameters, if it has one."""
    *others, last = opt_state.inner_state
    if not isinstance(last, AverageState):
        return opt_state
    return opt_state._replace(inner_state=(*others, last._replace(average=average)))


def as_single(opt_state: Any, config: ConfigDict) -> Any:
    """Return the optimizer state of a member of a sweep in the structure of a single run of its config.

    Without the parts of weight decay and average where that config does not use them.
    """
    clip, inner, *average = opt_state.inner_state
    if not config.optimizer.weight_decay:
        inner = (inner[0], inner[-1])  # drops the state of the weight decay
    average = average if config.optimizer.ema else []
    return opt_state._replace(inner_state=(clip, inner, *average))
