"""What can be wrong with a network: unstable neurons, divergence, layers that are silent or spike all the time."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from seadlif_jax.analysis.stability import SPECTRA, largest_stable_a
from seadlif_jax.training.trainer import LARGEST_WEIGHT, MUST_BE_FINITE, Trouble
from seadlif_jax.utils.errors import SeadlifError

SATURATED = 0.9  # spikes of a neuron in a step; 1 is the most there can be


class DivergenceError(SeadlifError):
    """Loss or gradients became NaN or infinite, or a weight far too large."""


def divergence(metrics: Mapping[str, np.ndarray], trouble: Trouble, member: int, epoch: int, params: PyTree) -> str:
    """What has happened to a member, with the first step and the first parameter, in the network's order, affected.

    Args:
      metrics: of the epoch, of all members, like all that follows.
      trouble: the first of it.
      member: the number of the one that has diverged.
      epoch: the number of the epoch, from 1.
      params: the parameters, for their names.
    """
    step, parameter = int(trouble.step[member]), int(trouble.parameter[member])
    for name in MUST_BE_FINITE:
        if not np.isfinite(metrics[name][member]):
            of_training = step >= 0 and name != "validation_loss"
            where = f", from step {step + 1} on" if of_training else ""
            if of_training and parameter >= 0:
                path, _ = jax.tree.leaves_with_path(params)[parameter]
                where += (
                    f"; the first gradient affected is that of {jax.tree_util.keystr(path, simple=True, separator='/')}"
                )
            return f"{name} is {metrics[name][member]} in epoch {epoch}{where}"
    largest = metrics["largest_weight"][member]
    return f"a weight is {largest:.4g}, more than {LARGEST_WEIGHT:.0f}, in epoch {epoch}"


def instability(model: ConfigDict) -> str | None:
    """What there is to tell about the ranges of a config's `model`, if neurons in them can be unstable."""
    if model.neuron not in SPECTRA:
        return None
    # The bound is least for the shortest time constants.
    bound, reached = largest_stable_a(model.neuron, model.tau_u[0], model.tau_w[0]), model.q * model.a[1]
    if reached < bound:
        return None
    return (
        f"config.model allows neurons that are unstable: with tau_u {model.tau_u[0]:g} and tau_w {model.tau_w[0]:g}, "
        f"{model.neuron} is stable only below q a = {bound:.4g}, and q a may become {reached:.4g}"
    )


class LayerWatch:
    """Tells when a hidden layer falls silent, or spikes all the time: once, until it has recovered."""

    def __init__(self) -> None:
        self._told: set[tuple[int, int]] = set()

    def warnings(self, row: Mapping[str, float]) -> list[str]:
        """What there is to tell about the epoch of a member, from its row of metrics."""
        member, found, layer = int(row["member"]), [], 1
        while (rate := row.get(f"validation_spike_rate_{layer}")) is not None:
            wrong = rate == 0 or rate > SATURATED
            if wrong and (member, layer) not in self._told:
                what = "is silent" if rate == 0 else "spikes nearly all the time"
                found.append(
                    f"hidden layer {layer} {what}: {rate:.4g} spikes of a neuron in a step, on the validation samples"
                )
            (self._told.add if wrong else self._told.discard)((member, layer))
            layer += 1
        return found
