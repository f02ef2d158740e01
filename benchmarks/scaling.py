"""Time of a training step against neurons, steps and batch size, for ours by XLA and for a plain `jax.lax.scan`.

    python -m benchmarks.scaling [--output_dir=benchmarks/results]

Each of the three is varied by factors of two around one layer of 128 neurons, 250 steps and a batch of 64, with the
other two fixed, on random events of 140 channels. Writes scaling.png, and all samples to scaling.json.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks import machine
from benchmarks.peers import OURS_XLA, PLAIN
from benchmarks.progress import progress
from benchmarks.rounds import measure, summary
from benchmarks.shapes import SHAPES, Shape
from benchmarks.workers import started
from seadlif_jax.plots import BLACK, BLUE, ORANGE, STYLE
from seadlif_jax.runs.files import versions

OUTPUT_DIR = flags.DEFINE_string("output_dir", "benchmarks/results", "Folder for scaling.png and scaling.json.")
CENTRE = {"neurons": 128, "steps": 250, "batch": 64}
RANGES = {
    "neurons": (32, 64, 128, 256, 512),
    "steps": (125, 250, 500, 1000, 2000),
    "batch": (16, 32, 64, 128, 256),
}
LABELS = {"neurons": "neurons", "steps": "time steps", "batch": "samples in a batch"}
FIXED = {"neurons": "{} neurons", "steps": "{} steps", "batch": "batch of {}"}
ROUNDS = 5


def shape_of(neurons: int, steps: int, batch: int) -> Shape:
    """Return the small SHD network with other sizes."""
    base = SHAPES["shd_small"]
    config = base.config.copy_and_resolve_references().unlock()
    config.model.hidden = (neurons,)
    config.batch_size = batch
    return base._replace(config=config.lock(), steps=steps)


def measure_point(size: Mapping[str, int]) -> dict[str, Any]:
    """Return the seconds of a training step at one size, by implementation."""

    def say(text: str) -> None:
        progress(", ".join(FIXED[name].format(value) for name, value in size.items()) + f": {text}")

    with started((OURS_XLA, PLAIN), shape_of(**size), say) as (workers, built, failed):
        measurement = measure(workers, "train_step", ROUNDS, say)
    for name, reason in {**failed, **measurement.notes}.items():
        print(f"{size}: {name}: {reason}")
    ours = measurement.samples.get(OURS_XLA.name)
    return {
        **size,
        "device": {name: one.device for name, one in built.items()},
        "train_step": {name: summary(samples, ours) for name, samples in measurement.samples.items()},
    }


def save_picture(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw one panel each for neurons, steps and batch size, with a common time axis."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.8))
        for ax, (name, points) in zip(figure.subplots(1, len(curves), sharey=True), curves.items(), strict=True):
            _draw(ax, name, points)
            ax.set_title(", ".join(FIXED[other].format(size) for other, size in CENTRE.items() if other != name))
        figure.axes[0].set_ylabel("training step (ms)")
        figure.axes[0].legend()
        figure.savefig(path, dpi=150)


def _draw(ax: Axes, name: str, points: Sequence[Mapping[str, Any]]) -> None:
    for implementation, colour, style in ((OURS_XLA.name, BLUE, "o-"), (PLAIN.name, ORANGE, "s--")):
        measured = [point for point in points if implementation in point["train_step"]]
        sizes = [point[name] for point in measured]
        times = [point["train_step"][implementation] for point in measured]
        ax.plot(sizes, [1e3 * time["median"] for time in times], style, color=colour, label=implementation)
        low, high = ([1e3 * time[extreme] for time in times] for extreme in ("min", "max"))
        ax.fill_between(sizes, low, high, color=colour, alpha=0.25, linewidth=0)
    centre = next(point for point in points if point[name] == CENTRE[name])["train_step"].get(OURS_XLA.name)
    if centre:
        proportional = [1e3 * centre["median"] * size / CENTRE[name] for size in RANGES[name]]
        ax.plot(RANGES[name], proportional, ":", color=BLACK, linewidth=1, label="proportional")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(RANGES[name], map(str, RANGES[name]))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(LABELS[name])


def main(_: Sequence[str]) -> None:
    folder = Path(OUTPUT_DIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    before = machine.load()
    centre = measure_point(CENTRE)
    curves = {
        name: [centre if size == CENTRE[name] else measure_point({**CENTRE, name: size}) for size in sizes]
        for name, sizes in RANGES.items()
    }
    progress("")
    save_picture(curves, folder / "scaling.png")
    result = {
        "machine": machine.describe(),
        "versions": versions(),
        "rounds": ROUNDS,
        "load_before": before,
        "load_after": machine.load(),
        "curves": curves,
    }
    (folder / "scaling.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"picture and samples: {folder / 'scaling.png'}, {folder / 'scaling.json'}")


if __name__ == "__main__":
    app.run(main)
