"""A long run of a tiny network: its memory, open files and checkpoints must not grow.

    python -m endurance.soak [--num_epochs=1000] [--output_dir=endurance/results]

Trains in a separate process, which is measured after every epoch. Writes soak.csv and soak.png. About two minutes.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from matplotlib import rc_context
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import machine
from seadlif_jax.plots import BLUE, GREEN, ORANGE, STYLE
from seadlif_jax.runs.files import write_table

EPOCHS = flags.DEFINE_integer("num_epochs", 1000, "Number of epochs.", lower_bound=10)
FOLDER = flags.DEFINE_string("output_dir", "endurance/results", "Folder for table and figure.")

ROOT = Path(__file__).parent.parent
PANELS = {
    "memory_mib": ("memory of the process (MiB)", BLUE),
    "files": ("open files", ORANGE),
    "checkpoints_mib": ("checkpoints (MiB)", GREEN),
}


def measure(pid: int, workdir: Path) -> dict[str, float]:
    """Return memory, number of open files, and size of the checkpoints of a process."""
    sizes = []
    for path in (workdir / "checkpoints").rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # an old one is being deleted
            continue
    return {
        "memory_mib": machine.resident_mib(pid),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "checkpoints_mib": sum(sizes) / 2**20,
    }


def soak(num_epochs: int) -> list[dict[str, float]]:
    """Return the measurements after every epoch."""
    with tempfile.TemporaryDirectory() as name:
        command = [
            sys.executable, "train.py", "--config=configs/bsd.py:quick", "--config.data.num_samples=300",
            "--config.batch_size=32", "--config.model.hidden=(16,)", f"--config.num_epochs={num_epochs}",
            f"--workdir={name}",
        ]  # fmt: skip
        rows: list[dict[str, float]] = []
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            progress = tqdm(total=num_epochs, unit="epoch", disable=None)
            for line in process.stdout:
                if line.startswith("epoch"):
                    rows.append({"epoch": len(rows) + 1, **measure(process.pid, Path(name))})
                    progress.update()
        if process.returncode:
            sys.exit(f"error: the run ended with status {process.returncode}")
    return rows


def main(_: Sequence[str]) -> None:
    rows, folder = soak(EPOCHS.value), Path(FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "soak.csv", {name: [row[name] for row in rows] for name in rows[0]})
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.2))
        for ax, (name, (label, colour)) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            ax.plot([row["epoch"] for row in rows], [row[name] for row in rows], color=colour)
            ax.set_xlabel("epoch")
            ax.set_ylabel(label)
            ax.set_ylim(bottom=0)
        figure.savefig(folder / "soak.png", dpi=150)
    tenth = len(rows) // 10
    for name in PANELS:
        early, late = (
            statistics.median(row[name] for row in part) for part in (rows[tenth : 2 * tenth], rows[-tenth:])
        )
        print(f"{name}: {early:.4g} in the second tenth of the epochs, {late:.4g} in the last (medians)")


if __name__ == "__main__":
    app.run(main)
