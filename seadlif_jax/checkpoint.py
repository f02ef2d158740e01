"""Checkpoints of a run: the only file that imports orbax.

A checkpoint is one folder a saved epoch, written in the background and visible only once complete. It holds
"last", the whole train state, and "best", the parameters and constants of the best epoch; and "metadata", their epochs,
the best scores and the config. Only the newest is kept. All arrays have an axis of members in front, of length one for
a single run.
"""

import json
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from seadlif_jax import devices
from seadlif_jax.config import to_json
from seadlif_jax.program import TrainState

Variables = dict[str, Any]


class CheckpointError(ValueError):
    """A checkpoint that cannot be restored: the message names it and what to do."""


class Checkpoints:
    """The checkpoints in a folder. Use as a context manager: leaving it waits for saves under way."""

    def __init__(self, folder: Path, config: ConfigDict):
        self.folder = folder
        self._config = json.loads(to_json(config))
        # Not created here: reading leaves nothing behind.
        options = ocp.CheckpointManagerOptions(max_to_keep=1, create=False)
        self._manager = ocp.CheckpointManager(folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def save(self, states: TrainState) -> None:
        """Saves the states of all members after an epoch, in the background."""
        self.folder.mkdir(parents=True, exist_ok=True)
        best: Variables = {"params": states.best.params, "constants": states.constants}
        epochs, best_epochs, best_scores = devices.to_host((states.epoch, states.best.epoch, states.best.score))
        members, channels, _ = states.params["layers_0"]["kernel"].shape
        self._manager.save(
            int(epochs.max()),
            args=ocp.args.Composite(
                last=ocp.args.StandardSave(states),
                best=ocp.args.StandardSave(best),
                metadata=ocp.args.JsonSave(
                    {
                        "epoch": epochs.tolist(),
                        "best_epoch": best_epochs.tolist(),
                        "best_score": best_scores.tolist(),
                        "members": members,
                        "channels": channels,
                        "config": self._config,
                    }
                ),
            ),
        )

    def restore_last(self, like: TrainState) -> TrainState:
        """The states saved last, or `like` itself if nothing has been saved.

        Raises:
          CheckpointError: the checkpoint is damaged, or of another architecture than `like`.
        """
        if self._manager.latest_step() is None:
            return like
        return self._restore("last", _like(like))

    def restore_best(self, like: Variables) -> Variables:
        """The variables of every member's best epoch; raises like `restore_last`."""
        return self._restore("best", _like(like))

    def metadata(self) -> dict[str, Any] | None:
        """What the newest checkpoint says about itself, or None if nothing has been saved."""
        if self._manager.latest_step() is None:
            return None
        return self._restore("metadata", ocp.args.JsonRestore())

    def _restore(self, item: str, how: ocp.args.CheckpointArgs) -> Any:
        epoch = self._manager.latest_step()
        try:
            return self._manager.restore(epoch, args=ocp.args.Composite(**{item: how}))[item]
        except Exception as error:  # orbax and the storage below it raise many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"the checkpoint {self.folder / str(epoch)} is damaged or of another architecture ({reason}). "
                "Nothing was changed; choose another --workdir to start anew"
            ) from error


def _like(tree: Any) -> ocp.args.StandardRestore:
    return ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, tree))
