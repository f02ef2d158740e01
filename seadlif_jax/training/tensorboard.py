"""The metrics of a run as TensorBoard's event files, by tensorboardX, which needs no TensorFlow."""

import contextlib
import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError
from seadlif_jax.parallel.mesh import is_first_process
from seadlif_jax.runs.folder import Run

FOLDER = "tensorboard"
MOST_MEMBERS = 100  # each has a file that is open, and a thread
Rows = Sequence[Mapping[str, float]]


def check(config: ConfigDict, members: int) -> None:
    """Raises a `ConfigError` if event files are wanted, but cannot be written."""
    if not config.tensorboard:
        return
    if importlib.util.find_spec("tensorboardX") is None:
        raise ConfigError("config.tensorboard = True needs the package tensorboardX: pip install tensorboardX")
    if members > MOST_MEMBERS:
        raise ConfigError(f"config.tensorboard = True: {members} members; at most {MOST_MEMBERS} can be shown")


@contextlib.contextmanager
def recorder(run: Run, names: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    """A function for the rows of each epoch to come; if `config.tensorboard` says so, they are in event files at once.

    The files are written anew from the rows that there are: a run that goes on leaves no epoch twice.

    Args:
      run: whose metrics they are.
      names: of the members of a sweep; each has a folder of its own.
    """
    if not run.config.tensorboard or not is_first_process():
        yield lambda rows: None
        return
    from tensorboardX import SummaryWriter

    folder = run.folder / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(SummaryWriter(str(path))) for path in _folders(folder, names)]

        def record(rows: Rows) -> None:
            for row in rows:
                writer = writers[int(row.get("member", 0))]
                for name, value in row.items():
                    if name not in ("member", "epoch"):
                        writer.add_scalar(_tag(name), value, int(row["epoch"]))
                writer.flush()

        for rows in run.metrics.by_member().values():
            record(rows)
        yield record


def _folders(folder: Path, names: Sequence[str]) -> list[Path]:
    return [folder / f"{number} {name}" for number, name in enumerate(names)] or [folder]


def _tag(name: str) -> str:
    """`train_loss` -> `loss/train`: TensorBoard shows what has the same beginning side by side."""
    for split in ("train", "validation"):
        if name.startswith(f"{split}_"):
            return f"{name.removeprefix(f'{split}_')}/{split}"
    return name
