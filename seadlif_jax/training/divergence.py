"""All about divergence: finding it in a compiled epoch, retrying with a smaller learning rate, and reporting it.

A member has diverged in an epoch when its loss, validation loss or gradient is NaN or infinite, or a parameter is
larger than `config.divergence.max_weight`. Then `config.divergence.action`

stop    ends a single run, with the state before that epoch saved; a member of a sweep is frozen in that state;
skip    leaves out the steps whose loss or gradient is not finite, and stops as above if the epoch has diverged anyway;
back    repeats the epoch with a learning rate smaller by `config.divergence.factor`, at most `MAX_RETRIES` times.

`optax.apply_if_finite` would not do for `skip`: a skipped step must leave no trace in the sums of the epoch either, and
a loss or a norm of the gradient that overflows counts, too.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from ml_collections import ConfigDict

from seadlif_jax.analysis.stability import SPECTRA, max_stable_a
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.progress import say

MAX_RETRIES = 5  # of a member
FINITE_METRICS = ("train_loss", "validation_loss", "gradient_norm")
SATURATED_RATE = 0.9  # spikes of a neuron in a step, of which there can be at most 1
REPORTED_AFTER = 3  # epochs: many networks are silent at first


class DivergenceError(SeadlifError):
    """Training has diverged: loss or gradient are NaN or infinite, or a parameter is too large."""


class FirstNonFinite(NamedTuple):
    """The first step of an epoch whose loss or gradient was not finite.

    Attributes:
      step: its number, from 0; -1 if there was none.
      parameter: the first parameter, in the order of `jax.tree.leaves`, whose gradient was not finite; -1 if it was
        only the loss, or the norm of the whole gradient.
    """

    step: Int[Array, ""]
    parameter: Int[Array, ""]

    @classmethod
    def none(cls) -> "FirstNonFinite":
        """Return the value of an epoch without such a step."""
        none = jnp.asarray(-1, int)  # with its type: without, the next call would be compiled again
        return cls(none, none)

    def update(self, finite: Bool[Array, ""], step: Int[Array, ""], gradients: PyTree[Array]) -> "FirstNonFinite":
        """Return the value after a step, which was `finite` or not."""
        affected = jnp.stack([~jnp.all(jnp.isfinite(gradient)) for gradient in jax.tree.leaves(gradients)])
        parameter = jnp.where(affected.any(), jnp.argmax(affected), -1)
        new = FirstNonFinite(jnp.asarray(step, int), parameter)
        return jax.tree.map(lambda old, new: jnp.where(finite | (self.step >= 0), old, new), self, new)


class Outcome(NamedTuple):
    """An epoch of a member.

    Attributes:
      metrics: its metrics, by name.
      active: whether the member had not diverged in an epoch before.
      finite: whether it has not diverged in this one.
      retries: number of retries before it.
      first_non_finite: the first step that was not finite.
    """

    metrics: dict[str, Float[Array, ""]]
    active: Bool[Array, ""]
    finite: Bool[Array, ""]
    retries: Int[Array, ""]
    first_non_finite: FirstNonFinite


def is_finite(metrics: Mapping[str, Float[Array, ""]], max_weight: float) -> Bool[Array, ""]:
    """Return whether an epoch with these metrics has not diverged."""
    finite = metrics["max_weight"] <= max_weight
    for name in FINITE_METRICS:
        finite &= jnp.isfinite(metrics[name])
    return finite


def learning_rate_scale(retries: Int[Array, ""], factor: float) -> Float[Array, ""]:
    """Return `factor` to the power of `retries`, the scale of the learning rate after as many retries."""
    return jnp.cumprod(jnp.asarray([1.0] + MAX_RETRIES * [factor], float))[retries]


def describe_divergence(outcome: Outcome, member: int, epoch: int, params: PyTree, max_weight: float) -> str:
    """Return what has diverged, with the first step and the first parameter affected.

    Args:
      outcome: outcome of the epoch on the host, with an axis of members.
      member: number of the member that has diverged.
      epoch: number of the epoch, from 1.
      params: parameters, for their names.
      max_weight: see `is_finite`.
    """
    metrics, (step, parameter) = outcome.metrics, (int(array[member]) for array in outcome.first_non_finite)
    for name in FINITE_METRICS:
        if not np.isfinite(metrics[name][member]):
            in_training = step >= 0 and name != "validation_loss"
            where = f", from step {step + 1} on" if in_training else ""
            if in_training and parameter >= 0:
                path, _ = jax.tree.leaves_with_path(params)[parameter]
                where += (
                    f"; the first gradient affected is that of {jax.tree_util.keystr(path, simple=True, separator='/')}"
                )
            return f"{name} is {metrics[name][member]} in epoch {epoch}{where}"
    return f"a weight is {metrics['max_weight'][member]:.4g}, more than {max_weight:g}, in epoch {epoch}"


class DivergenceMonitor:
    """Decides and reports what is done about members that have diverged.

    Args:
      config: config of the run.
      names: names of the members of a sweep; none for a single run.
    """

    def __init__(self, config: ConfigDict, names: Sequence[str]):
        self._divergence, self._names = config.divergence, names
        self._reported: set[int] = set()

    def members_to_retry(self, outcome: Outcome, epoch: int, params: PyTree) -> list[int]:
        """Report members that have diverged in an epoch; return those that are to repeat it.

        Args:
          outcome: outcome of the epoch on the host, with an axis of members.
          epoch: number of epochs finished before.
          params: parameters, for their names.

        Raises:
          DivergenceError: it is a single run, which is not to retry.
        """
        to_retry = []
        for member in np.flatnonzero(outcome.active & ~outcome.finite).tolist():
            reason = describe_divergence(outcome, member, epoch + 1, params, self._divergence.max_weight)
            retries = int(outcome.retries[member])
            if self._divergence.action == "back" and retries < MAX_RETRIES:
                to_retry.append(member)
                scale = self._divergence.factor ** (retries + 1)
                who = f"{member_name(self._names, member)}: " if self._names else ""
                say(f"{who}rolled back to epoch {epoch}; retrying with learning rate x {scale:g}: {reason}")
            elif not self._names:
                raise DivergenceError(
                    f"{reason}. The run's folder keeps the state before. Try a smaller config.optimizer.learning_rate, "
                    "or another config.divergence.action, in another --workdir"
                )
            elif member not in self._reported:
                self._reported.add(member)
                name = member_name(self._names, member)
                say(f"{name}: diverged; frozen at its last finite state: {reason}")
        return to_retry

    def all_diverged(self, first_non_finite: FirstNonFinite) -> bool:
        """Return whether the rest of an epoch would be wasted, since each member has had a step that was not finite."""
        return self._divergence.action != "skip" and bool((np.asarray(first_non_finite.step) >= 0).all())


class LayerMonitor:
    """Warns of hidden layers that are silent, or spike nearly all the time, for some epochs, or in the last one.

    Args:
      names: names of the members of a sweep; none for a single run.
      num_epochs: number of epochs of the run.
    """

    def __init__(self, names: Sequence[str], num_epochs: int):
        self._names = names
        self._num_epochs = num_epochs
        self._epochs: dict[tuple[int, int], int] = {}  # how many in a row, by member and layer

    def check(self, row: Mapping[str, float]) -> None:
        """Warn about an epoch of a member, from its row of metrics."""
        member, layer = int(row["member"]), 1
        while (rate := row.get(f"validation_spike_rate_{layer}")) is not None:
            is_working = 0 < rate <= SATURATED_RATE
            epochs = self._epochs[member, layer] = 0 if is_working else self._epochs.get((member, layer), 0) + 1
            is_last = row["epoch"] == self._num_epochs
            if epochs == REPORTED_AFTER or (is_last and 0 < epochs < REPORTED_AFTER):
                state, remedy = ("silent", "up") if rate == 0 else ("saturated", "down")
                of_member = f" of {member_name(self._names, member)}" if self._names else ""
                say(
                    f"warning: hidden layer {layer}{of_member} is {state}: on validation, a mean of {rate:.4g} spikes "
                    f"per neuron and step; if it stays so, scale the inputs {remedy}"
                )
            layer += 1


def member_name(names: Sequence[str], member: int) -> str:
    """Return the name of a member of a sweep for messages."""
    return f"member {member} ({names[member]})"


def instability_warning(model: ConfigDict) -> str | None:
    """Return warning text if the ranges of a config's `model` admit unstable neurons, or None."""
    if model.neuron not in SPECTRA:
        return None
    # The bound is least for the shortest time constants.
    bound, reached = max_stable_a(model.neuron, model.tau_u[0], model.tau_w[0]), model.q * model.a[1]
    if reached < bound:
        return None
    return (
        f"config.model allows neurons that are unstable: with tau_u {model.tau_u[0]:g} and tau_w {model.tau_w[0]:g}, "
        f"{model.neuron} is stable only below q a = {bound:.4g}, and q a may become {reached:.4g}"
    )
