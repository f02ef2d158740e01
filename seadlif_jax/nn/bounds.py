"""Bounds of trained neuron parameters, and the projection into them."""

from collections.abc import Mapping
from types import MappingProxyType

import optax
from jaxtyping import Array, PyTree

from seadlif_jax.neurons.surrogate import Scalar

# Where trained neuron parameters are kept, by name, unless a layer has other ranges for `a` and `b`: the couplings of
# the adaptation, and the positions of the time constants in their ranges.
BOXES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"a": (0.0, 1.0), "b": (0.0, 2.0), "k_u": (0.0, 1.0), "k_w": (0.0, 1.0)}
)


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
