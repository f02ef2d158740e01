"""State of training: the state that it changes, the hyperparameters, and the position that a checkpoint holds."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree
from ml_collections import ConfigDict, FrozenConfigDict

from seadlif_jax import nn
from seadlif_jax.build import build_hyperparameters
from seadlif_jax.data.on_device.augmentation import Augmentation
from seadlif_jax.losses import Sums
from seadlif_jax.parallel import to_host
from seadlif_jax.runs.checkpoint import Checkpoint, Checkpoints, Variables
from seadlif_jax.training.divergence import FirstNonFinite

# Numbers that leave something out where they are 0, by section of the config; `config.sweep` has the same names.
OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "optimizer": ("warmup_epochs", "weight_decay", "ema", "label_smoothing"),
        "model": ("dropout", "rate_penalty"),
        "augment": Augmentation._fields,
    }
)


class TrainingHyperparameters(NamedTuple):
    """Numbers that may differ between the members of a sweep: traced values, never constants of a compiled program.

    A field that is None is 0 for all members, and is left out of the program. The fields are those of the config.
    """

    learning_rate: Float[Array, ""]
    network: nn.Hyperparameters
    warmup_epochs: Float[Array, ""] | None = None
    weight_decay: Float[Array, ""] | None = None
    ema: Float[Array, ""] | None = None
    label_smoothing: Float[Array, ""] | None = None
    rate_penalty: Float[Array, ""] | None = None
    augmentation: Augmentation = Augmentation()

    @classmethod
    def from_config(
        cls, config: ConfigDict | FrozenConfigDict, sweep: ConfigDict | FrozenConfigDict | None = None
    ) -> "TrainingHyperparameters":
        """Return the hyperparameters of a run, or of a member of a sweep.

        Args:
          config: config of the run, or of the member.
          sweep: config of the sweep, which says what is left out of the program of all members.
        """
        used = used_options(config if sweep is None else sweep)
        options = {
            section: {name: jnp.asarray(config[section][name], float) for name in names if name in used}
            for section, names in OPTIONS.items()
        }
        network = build_hyperparameters(config)._replace(dropout=options["model"].pop("dropout", None))
        return cls(
            jnp.asarray(config.optimizer.learning_rate, float),
            network,
            **options["optimizer"],
            **options["model"],
            augmentation=Augmentation(**options["augment"]),
        )

    @classmethod
    def stack(
        cls, configs: Sequence[ConfigDict | FrozenConfigDict], sweep: ConfigDict | FrozenConfigDict
    ) -> "TrainingHyperparameters":
        """Return the hyperparameters of the members of a sweep, each with an axis of members."""
        members = [cls.from_config(config, sweep) for config in configs]
        return jax.tree.map(lambda *values: jnp.stack(values), *members)


def used_options(config: ConfigDict | FrozenConfigDict) -> frozenset[str]:
    """Return the names, as in `config.sweep`, of the options that are not 0 in the config or in its sweep.

    All other options are left out of the compiled program and of the optimizer state, which thereby stay the same as
    for configs that were written before these options existed.
    """
    return frozenset(
        name for section, names in OPTIONS.items() for name in names if config[section][name] or any(config.sweep[name])
    )


class Best(NamedTuple):
    """The epoch to test: the best so far, or, with the protocol "last", the last.

    Attributes:
      epoch: its number, from 1; 0 if there is none.
      score: its score on the validation split, see `Task.selection_score`.
      variables: the network's variables after it, with the average of the parameters where there is one.
    """

    epoch: Int[Array, ""]
    score: Float[Array, ""]
    variables: Variables


class TrainState(NamedTuple):
    """State after a finished epoch.

    Attributes:
      key: key that all randomness comes from.
      epoch: number of epochs finished.
      variables: of the network: "params", and "constants" and "batch_stats", which may be empty.
      opt_state: state of the optimizer.
      plateau: state of the plateau schedule; None without one.
      retries: number of times that an epoch has been repeated after divergence, each with a smaller learning rate.
      best: the epoch to test.
    """

    key: Key[Array, ""]
    epoch: Int[Array, ""]
    variables: Variables
    opt_state: PyTree[Array]
    plateau: PyTree[Array]
    retries: Int[Array, ""]
    best: Best


class EpochSums(NamedTuple):
    """Sums over the steps of an epoch; skipped steps are only counted."""

    targets: Sums
    gradient_norm: Float[Array, ""]
    steps: Int[Array, ""]
    skipped: Int[Array, ""]
    first_non_finite: FirstNonFinite

    @classmethod
    def zero(cls) -> "EpochSums":
        """Return the sums before the first step."""
        no_steps = jnp.zeros((), int)
        return cls(Sums.zero(), jnp.zeros(()), steps=no_steps, skipped=no_steps, first_non_finite=FirstNonFinite.none())


class Running(NamedTuple):
    """Values that the steps of an epoch change; their buffers are reused from call to call."""

    variables: Variables
    opt_state: PyTree[Array]
    sums: EpochSums


class Position(NamedTuple):
    """Where training is; all arrays have an axis of members.

    Attributes:
      state: state after the last finished epoch.
      running: values changed by the steps of the next epoch so far; None before the first step.
      step: number of these steps.
      seconds: time that they took.
      metrics_checksum: checksum of the rows of metrics so far, `MetricsLog.checksum`; 0 for none.
    """

    state: TrainState
    running: Running | None = None
    step: int = 0
    seconds: float = 0.0
    metrics_checksum: int = 0

    def save(self, checkpoints: Checkpoints) -> None:
        """Save the position in the background; raises a `CheckpointError` if this or the save before has failed."""
        state = self.state
        epochs, best_epochs, best_scores = to_host((state.epoch, state.best.epoch, state.best.score))
        members, channels, _ = state.variables["params"]["layers_0"]["kernel"].shape
        trees = {"last": state, "best": state.best.variables}
        if self.running is not None and self.step:
            trees["running"] = self.running
        checkpoints.save(
            trees,
            {
                "epochs": epochs.tolist(),
                "step": self.step,
                "seconds": self.seconds,
                "metrics": self.metrics_checksum,
                "best_epochs": best_epochs.tolist(),
                "best_scores": best_scores.tolist(),
                "members": members,
                "channels": channels,
            },
        )

    @classmethod
    def restore(cls, checkpoints: Checkpoints, state: TrainState, running: Running) -> "Position | None":
        """Return the position in the newest checkpoint that is intact; None if nothing has been saved.

        Args:
          checkpoints: where it was saved.
          state: state of the same shapes, on the devices where the restored one is to be.
          running: likewise.

        Raises:
          CheckpointError: see `Checkpoints.restore`.
        """

        def templates(metadata: Mapping[str, Any]) -> dict[str, Any]:
            return {"last": state, "running": running} if metadata["step"] else {"last": state}

        checkpoint: Checkpoint | None = checkpoints.restore(templates)
        if checkpoint is None:
            return None
        trees, metadata = checkpoint
        step = int(metadata["step"])
        seconds = metadata["seconds"] if step else 0.0
        return cls(trees["last"], trees.get("running"), step, seconds, metadata["metrics"])
