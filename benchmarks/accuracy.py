"""Append the results of runs, or of the members of sweeps, to benchmarks/results/accuracy.csv.

    python -m benchmarks.accuracy --config=ecg:one_layer [--commit=HASH] RUN [RUN ...]

Adds a row for each run, or member of a sweep, that has not diverged: accuracy on the test and validation samples (for
oscillation, the mean squared error in the same columns; for audio, the SI-SNR of the chunks in dB), best epoch,
duration, protocol, device, versions, and --commit, that of the code that trained it. Run it on the machine that trained
them, because it records the CPU. Results that are in the table already are skipped.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import machine
from seadlif_jax.members import describe_setting, without_seed
from seadlif_jax.runs.files import write_table

CONFIG = flags.DEFINE_string("config", None, "Name of the config, and its variant: ecg:one_layer.", required=True)
COMMIT = flags.DEFINE_string("commit", "HEAD", "Commit that the runs were trained with.")
TABLE = flags.DEFINE_string("table", "benchmarks/results/accuracy.csv", "The table.")
COLUMNS = (
    *("task", "variant", "seed", "test_accuracy", "validation_accuracy", "best_epoch", "wall_seconds", "protocol"),
    *("device", "python", "jax", "finished", "commit"),
)


def short_commit() -> str:
    """Return the short hash of --commit."""
    command = ["git", "rev-parse", "--short", COMMIT.value]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"error: --commit={COMMIT.value}: {result.stderr.strip()}")
    return result.stdout.strip()


def members(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the setting and the result of a run, or of each member of a sweep that has not diverged."""
    result = json.loads((folder / "result.json").read_text())
    for member in result.get("members", [result]):
        if not member.get("diverged"):
            yield describe_setting(without_seed(member.get("varied", {}))), member


def rows(folder: Path, task: str, variant: str, commit: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a folder."""
    cpu = f"{machine.cpu_model()}, {machine.describe()['cores']} cores"
    for setting, result in members(folder):
        metric = next(name for name in ("accuracy", "mse", "si_snr") if name in result["test"])
        yield {
            "task": task,
            "variant": ",".join(filter(None, (variant, setting.replace(", ", ",")))),
            "seed": result["seed"],
            "test_accuracy": f"{result['test'][metric]:.5f}",
            "validation_accuracy": f"{result['validation'][metric]:.5f}",
            "best_epoch": result["best_epoch"],
            "wall_seconds": round(result["wall_seconds"]),
            "protocol": result["protocol"],
            "device": cpu if result["device"].startswith("cpu") else result["device"],
            "python": result["versions"]["python"],
            "jax": result["versions"]["jax"],
            "finished": result["finished"],
            "commit": commit,
        }


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("task", "variant", "seed", "finished"))


def main(arguments: list[str]) -> None:
    task, _, variant = CONFIG.value.partition(":")
    commit = short_commit()
    with Path(TABLE.value).open(newline="") as file:
        table = [{"commit": "", **row} for row in csv.DictReader(file)]
    known = {_key(row) for row in table}
    for folder in map(Path, arguments[1:]):
        if not (folder / "result.json").is_file():
            sys.exit(f"error: {folder} holds no finished run")
        added = [row for row in rows(folder, task, variant, commit) if _key(row) not in known]
        print(f"{folder}: {len(added)} rows")
        table += added
        known |= {_key(row) for row in added}
    write_table(Path(TABLE.value), {name: [row[name] for row in table] for name in COLUMNS})


if __name__ == "__main__":
    app.run(main)
