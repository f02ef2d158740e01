"""The optimizer: clipped Adam, the boxes of the neuron parameters, and the plateau schedule. All of it is optax."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import optax
from jaxtyping import Array, Float, PyTree

from seadlif_jax.neurons.surrogate import Scalar

# Where trained neuron parameters are kept, by name, unless a layer has other ranges for `a` and `b`: the couplings of
# the adaptation, and the positions of the time constants in their ranges.
BOXES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"a": (0.0, 1.0), "b": (0.0, 2.0), "k_u": (0.0, 1.0), "k_w": (0.0, 1.0)}
)


def clipped_adam(learning_rate: Scalar, clip_norm: float) -> optax.GradientTransformationExtraArgs:
    """Adam on gradients clipped to a global norm; the learning rate, which may be traced, is part of its state."""

    @optax.inject_hyperparams
    def adam(learning_rate):
        return optax.chain(optax.clip_by_global_norm(clip_norm), optax.adam(learning_rate))

    return adam(learning_rate=learning_rate)


def set_learning_rate(opt_state: Any, learning_rate: Float[Array, ""]) -> Any:
    """The optimizer state with another learning rate."""
    return opt_state._replace(hyperparams={**opt_state.hyperparams, "learning_rate": learning_rate})


def project_to_boxes(params: PyTree[Array], boxes: Mapping[str, tuple[Scalar, Scalar]] = BOXES) -> PyTree[Array]:
    """Moves the neurons' parameters to the nearest point of their boxes; everything else stays as it is.

    A module with a parameter `k_u` is one of neurons; other modules may have an `a` or `b` of their own.

    Example:
      >>> import jax.numpy as jnp
      >>> layer = {"a": jnp.array([1.5]), "k_u": jnp.array([-0.5]), "bias": jnp.array([7.0])}
      >>> {name: value.tolist() for name, value in project_to_boxes(layer).items()}
      {'a': [1.0], 'k_u': [0.0], 'bias': [7.0]}
    """
    if not isinstance(params, Mapping):
        return params
    of_neurons = "k_u" in params

    def project(name, value):
        if of_neurons and name in boxes:
            return optax.projections.projection_box(value, *boxes[name])
        return project_to_boxes(value, boxes)

    return {name: project(name, value) for name, value in params.items()}


def plateau(factor: float, patience: int) -> optax.GradientTransformationExtraArgs:
    """Multiplies the scale of the learning rate by `factor` after more than `patience` epochs without a better loss.

    "Better" is by a relative 1e-4. The factor to apply is the `scale` of its state; `update_plateau` advances it.
    """
    # optax reduces at the patience-th bad epoch, the reference's scheduler at the one after it.
    return optax.contrib.reduce_on_plateau(factor=factor, patience=patience + 1, rtol=1e-4, atol=0.0)


def update_plateau(schedule: optax.GradientTransformationExtraArgs, state: Any, loss: Float[Array, ""]) -> Any:
    """The schedule's state after an epoch that ended with this validation loss."""
    return schedule.update(updates={}, state=state, value=loss)[1]
