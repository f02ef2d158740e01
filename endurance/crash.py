"""Kill runs at random moments, repeatedly: resumed runs must end with the same bits.

    python -m endurance.crash [--kills=30] [--terminations=10] [--seed=0] [--output=endurance/results/crash.json]

A run on event recordings and a sweep with members that diverge are first trained without interruption. Then they are
started, killed by SIGKILL or stopped by SIGTERM, and started again until they finish; this is repeated until the
requested numbers of signals have been sent, half of them to each. Signals are sent in turn at a random time, during a
save, and (for the run) while the cache is written. Every result is compared with the uninterrupted one: metrics except
durations, results, and the checksums of all parameters and of the optimizer state. About 15 minutes on two cores.
"""

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from tqdm import tqdm

from benchmarks import machine
from benchmarks.report import save
from seadlif_jax.cli.errors import EXIT_RESUMABLE
from tests import recordings_file
from tests.recordings_file import random_events

KILLS = flags.DEFINE_integer("kills", 30, "Number of SIGKILL signals.", lower_bound=1)
TERMINATIONS = flags.DEFINE_integer("terminations", 10, "Number of SIGTERM signals.", lower_bound=0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the random moments.")
OUTPUT = flags.DEFINE_string("output", "endurance/results/crash.json", "File for the figures.")

ROOT = Path(__file__).parent.parent
ENDED = 0  # exit status
# Moments of a signal: a time when such a file or folder exists; None: a random time.
MOMENTS = {
    "at random": None,
    "during a save": "run/checkpoints/*orbax-checkpoint-tmp*",
    "while the cache is written": "cache/*.partial-*/counts.npy",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """Command-line arguments of a run, and the moments of its signals, used in turn."""

    name: str
    arguments: Sequence[str]
    moments: Sequence[str]
    has_cache: bool = False

    def start(self, folder: Path) -> subprocess.Popen:
        """Start or resume the run in a folder."""
        folders = [
            f"--workdir={folder / 'run'}",
            *([f"--config.data.cache_dir={folder / 'cache'}"] if self.has_cache else []),
        ]
        command = [sys.executable, "train.py", *self.arguments, *folders]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def cases(data: Path) -> list[Case]:
    """Return a run on recordings in `data`, and a sweep with members that diverge."""
    training = ("--config.model.hidden=(16,)", "--config.model.dropout=0.1", "--config.optimizer.plateau_factor=0.5")
    return [
        Case(
            "run",
            (
                "--config=configs/shd.py:small", f"--config.data.dir={data}", "--config.data.num_classes=3",
                "--config.batch_size=32", "--config.num_epochs=40", *training,
            ),
            tuple(MOMENTS),
            has_cache=True,
        ),
        Case(
            "sweep",
            (
                "--config=configs/bsd.py:quick", "--config.data.num_samples=300", "--config.batch_size=32",
                "--config.num_epochs=20", "--config.sweep.seed=(0,1)", "--config.sweep.learning_rate=(0.01,1e6)",
                *training,
            ),
            ("at random", "during a save"),
        ),
    ]  # fmt: skip


def write_recordings(folder: Path) -> None:
    """Write files of random events in SHD's format, large enough that writing the cache takes some time."""
    for seed, (split, count) in enumerate((("train", 400), ("test", 100))):
        times, units = random_events(np.random.default_rng(seed), count, num_events=2000)
        recordings_file.write(folder / f"shd_{split}.h5", count, **{"spikes/times": times, "spikes/units": units})


def outcome(folder: Path) -> dict[str, Any]:
    """Return the numbers of a finished run that must not depend on interruptions."""
    result = json.loads((folder / "run" / "result.json").read_text())
    timeless = [line.rpartition(",")[0] for line in (folder / "run" / "metrics.csv").read_text().splitlines()]
    checksums = {}
    for path in sorted((folder / "run").rglob("checkpoints/*/metadata/metadata")):
        metadata = json.loads(path.read_text())
        if max(metadata["epochs"]) == result["config"]["num_epochs"]:
            checksums[str(path.relative_to(folder).parents[3])] = metadata["checksums"]
    result_values = {name: result[name] for name in ("test", "validation", "best_epoch", "summary") if name in result}
    return {"result": result_values, "metrics": timeless, "checksums": checksums}


class Trial:
    """A case that is interrupted repeatedly."""

    def __init__(self, case: Case, folder: Path, signals: Sequence[signal.Signals], rng: random.Random):
        self.case, self.folder, self.signals, self.rng = case, folder, list(signals), rng
        self.counts: Counter[str] = Counter()

    def run(self) -> dict[str, int]:
        """Send all signals; raise an `AssertionError` if a start fails or a result differs."""
        uninterrupted, interrupted = self.folder / "whole", self.folder / "again"
        started = time.monotonic()
        self._ended(self.case.start(uninterrupted))
        seconds, expected = time.monotonic() - started, outcome(uninterrupted)
        progress = tqdm(total=len(self.signals), unit="signal", desc=self.case.name, disable=None)
        while self.signals:
            while self.signals and self._interrupted(interrupted, seconds):
                progress.update()
            if not self.signals:
                self._ended(self.case.start(interrupted))
            assert outcome(interrupted) == expected, (
                f"{self.case.name}: the result differs; compare {interrupted} with {uninterrupted}"
            )
            self.counts["compared ends"] += 1
            shutil.rmtree(interrupted)
        return dict(self.counts)

    def _interrupted(self, folder: Path, seconds: float) -> bool:
        """Start once and send a signal; return False if the run finished first."""
        number = self.signals[-1]
        moment = self.case.moments[len(self.signals) % len(self.case.moments)]
        wait = self.rng.uniform(0, seconds)
        if moment == "while the cache is written":
            shutil.rmtree(folder / "cache", ignore_errors=True)
            wait = 0
        process = self.case.start(folder)
        due = time.monotonic() + wait
        # The next moment of this kind after the random time.
        while process.poll() is None and not (time.monotonic() >= due and self._is_now(folder, moment)):
            time.sleep(0.0005)
        process.send_signal(number)
        _, error = process.communicate()
        if process.returncode == ENDED:
            return False
        expected = (-number,) if number == signal.SIGKILL else (-number, EXIT_RESUMABLE)  # the first: before training
        assert process.returncode in expected, f"status {process.returncode}: {error}"
        self.signals.pop()
        self.counts[number.name] += 1
        if process.returncode == EXIT_RESUMABLE:
            self.counts["SIGTERM that saved"] += 1
        for name, pattern in MOMENTS.items():
            if pattern and list(folder.glob(pattern)):
                self.counts[f"left half-written {name}"] += 1
        return True

    def _is_now(self, folder: Path, moment: str) -> bool:
        pattern = MOMENTS[moment]
        return pattern is None or any(folder.glob(pattern))

    def _ended(self, process: subprocess.Popen) -> None:
        _, error = process.communicate()
        assert process.returncode == ENDED, f"status {process.returncode}: {error}"


def main(_: Sequence[str]) -> None:
    rng = random.Random(SEED.value)
    started, figures = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_recordings(folder)
        for number, case in enumerate(cases(folder)):
            # The first case gets the larger half.
            kills, terminations = ((total + 1 - number) // 2 for total in (KILLS.value, TERMINATIONS.value))
            signals = [signal.SIGKILL] * kills + [signal.SIGTERM] * terminations
            rng.shuffle(signals)
            figures[case.name] = Trial(case, folder / case.name, signals, rng).run()
            print(f"{case.name}: {figures[case.name]}", flush=True)
    content = {"machine": machine.describe(), "seconds": round(time.monotonic() - started), "cases": figures}
    save(content, OUTPUT.value)
    print(f"every result equals the uninterrupted one; figures: {OUTPUT.value}")


if __name__ == "__main__":
    app.run(main)
