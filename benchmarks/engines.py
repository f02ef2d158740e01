"""Training step and inference by the native kernel and by XLA, against the firing rate of the hidden layers.

    python -m benchmarks.engines [--shapes=shd_small,bsd] [--rates=0,0.1] [--rounds=7] [--output_dir=benchmarks/results]

The weights of each hidden layer are scaled until that share of its neurons spikes in a step; the learning rate is so
small that it stays. Both engines are measured in turn, in processes of their own, on random events. Prints a table, and
writes engines.png, and all samples to engines.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks import machine
from benchmarks.progress import progress
from benchmarks.report import align, save
from benchmarks.rounds import measure, summary
from benchmarks.shapes import SHAPES, refuse_unknown
from benchmarks.workers import Implementation, started
from seadlif_jax.plots import BLUE, ORANGE, STYLE
from seadlif_jax.runs.files import versions

NAMES = flags.DEFINE_list("shapes", ["shd_small", "ecg", "bsd", "shd"], f"Sizes to measure: {', '.join(SHAPES)}.")
RATES = flags.DEFINE_list("rates", ["0", "0.05", "0.1", "0.2", "0.5"], "Shares of neurons that spike in a step.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of samples of each time.", lower_bound=1)
OUTPUT_DIR = flags.DEFINE_string("output_dir", "benchmarks/results", "Folder for engines.png and engines.json.")
ENGINES = ("native", "xla")
QUANTITIES = ("train_step", "inference")


def measure_point(name: str, rate: float, rounds: int) -> dict[str, Any]:
    """Return the seconds of both quantities by both engines, for a shape and a firing rate."""

    def say(text: str) -> None:
        progress(f"{name}, firing rate {rate:g}: {text}")

    implementations = [
        Implementation(engine, "SE-adLIF", "ours", {"engine": engine, "firing_rate": rate}) for engine in ENGINES
    ]
    point: dict[str, Any] = {"firing_rate": rate, "load": machine.load()}
    with started(implementations, SHAPES[name], say) as (workers, _, failed):
        for quantity in QUANTITIES:
            measurement = measure(workers, quantity, rounds, say)
            for engine, reason in {**failed, **measurement.notes}.items():
                print(f"{name}: {engine}: {reason}")
            native = measurement.samples.get("native")
            point[quantity] = {engine: summary(samples, native) for engine, samples in measurement.samples.items()}
    return point


def table(shapes: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the times in ms, and how many times as fast as XLA the native kernel is."""
    lines = [("shape", "firing rate", *(f"{quantity}, {of}" for quantity in QUANTITIES for of in (*ENGINES, "ratio")))]
    for name, points in shapes.items():
        for point in points:
            cells = []
            for quantity in QUANTITIES:
                times = point[quantity]
                cells += [f"{1e3 * times[engine]['median']:.0f}" for engine in ENGINES]
                cells.append(f"{times['xla']['to_ours']:.2f}")
            lines.append((name, f"{point['firing_rate']:g}", *cells))
    return align(lines)


def save_picture(shapes: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw the time of a training step against the firing rate, a panel a shape."""
    with rc_context(STYLE):
        figure = Figure(figsize=(2.8 * len(shapes), 3.2), layout="constrained")
        for ax, (name, points) in zip(figure.subplots(1, len(shapes), squeeze=False)[0], shapes.items(), strict=True):
            for engine, colour, style in (("xla", ORANGE, "s--"), ("native", BLUE, "o-")):
                times = [1e3 * point["train_step"][engine]["median"] for point in points]
                ax.plot([100 * point["firing_rate"] for point in points], times, style, color=colour, label=engine)
            ax.set_ylim(bottom=0)
            ax.set_xlabel("neurons that spike in a step (%)")
            ax.set_title(name)
        figure.axes[0].set_ylabel("training step (ms)")
        figure.axes[0].legend()
        figure.savefig(path, dpi=150)


def main(_: Sequence[str]) -> None:
    refuse_unknown(NAMES.value)
    folder = Path(OUTPUT_DIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"machine": machine.describe(), "versions": versions(), "rounds": ROUNDS.value}
    shapes: dict[str, list[dict[str, Any]]] = {}
    for name in NAMES.value:
        shapes[name] = [measure_point(name, float(rate), ROUNDS.value) for rate in RATES.value]
        save(result | {"shapes": shapes}, str(folder / "engines.json"))  # after every shape: they take long
    progress("")
    print(table(shapes))
    save_picture(shapes, folder / "engines.png")
    print(f"picture and samples: {folder / 'engines.png'}, {folder / 'engines.json'}")


if __name__ == "__main__":
    app.run(main)
