"""What a trained network takes for each class of burst sequence detection (the paper's Fig. 6d).

    python -m studies.features --output_dir=runs/bsd-features [--workdir=runs/bsd-quick-seed0]

For every class an input is found by gradient ascent (`seadlif_jax.analysis.activation_maximization`), from three
noises, and compared with the three bursts that the class is made of, which the ascent does not know. Of every channel
the estimate is the time at which the input, smoothed by the width of a burst, is greatest; the three most salient
channels are those whose peak stands out most from their mean. Chance is what the same estimates find of the bursts of
all other classes, and what times find that are drawn uniformly from those at which bursts can be.

Without `--workdir`, a network of `configs/bsd.py:quick` is trained first, in DIR/run (about 20 seconds). Leaves
results.csv with every burst, summary.csv and figure.png.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from configs.bsd import get_config
from data import bsd
from seadlif_jax.analysis.activation_maximization import noise, peaks, visualise
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.output import table_lines
from seadlif_jax.inference.model import load_run
from seadlif_jax.plots import BLACK, BLUE, STYLE, VERMILION
from seadlif_jax.runs.folder import write_table
from seadlif_jax.training.fit import train_and_evaluate
from seadlif_jax.utils.paths import local_path
from seadlif_jax.utils.progress import bar
from studies.command import FOLDER, run

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run of configs/bsd.py; without it, one is trained.")

NOISE_SEEDS = (0, 1, 2)
TOLERANCE = 1.5  # units of time, of 20 a sample
DURATION = bsd.TIME_PER_STEP * bsd.NUM_STEPS
BURST_WIDTH = bsd.BURST_VARIANCE**0.5 / bsd.TIME_PER_STEP  # steps
ANSWERS_FROM = bsd.TIME_PER_STEP * (bsd.NUM_STEPS - bsd.ANSWER_STEPS)  # units
COLUMNS = 2  # of the figure


class Bursts(NamedTuple):
    """Those that classes are made of, `[class, 3]`: channels, and centres in units of time."""

    channels: np.ndarray
    centres: np.ndarray

    def of_another_class(self, shift: int) -> "Bursts":
        return Bursts(np.roll(self.channels, shift, axis=0), np.roll(self.centres, shift, axis=0))


class Found(NamedTuple):
    """From one noise: the inputs `[class, time, channel]`, and what follows from them alone.

    Attributes:
      probability: what the network gives the class, `[class]`; the geometric mean over the steps that count.
      centres: the estimates, `[class, channel]` in units of time.
      ranks: of the channels by salience, `[class, channel]`, the most salient first.
    """

    inputs: np.ndarray
    probability: np.ndarray
    centres: np.ndarray
    ranks: np.ndarray

    def centres_of(self, bursts: Bursts) -> np.ndarray:
        return np.take_along_axis(self.centres, bursts.channels, axis=1)

    def recovers(self, bursts: Bursts) -> np.ndarray:
        return np.abs(self.centres_of(bursts) - bursts.centres) < TOLERANCE

    def ranks_of(self, bursts: Bursts) -> np.ndarray:
        return np.take_along_axis(self.ranks, bursts.channels, axis=1)


def find(workdir: Path) -> tuple[Bursts, list[Found]]:
    """The bursts of a run's classes, and what is found from each noise."""
    trained = load_run(workdir)
    if trained.config.data.loader != "data.bsd:load":
        sys.exit(f"error: {workdir} is no run of configs/bsd.py, but of {trained.config.data.loader}")
    channels, fractions = bsd.class_patterns(trained.config.data.num_classes, trained.config.data.seed)
    counted = np.arange(bsd.NUM_STEPS) >= bsd.NUM_STEPS - bsd.ANSWER_STEPS
    ascend = jax.jit(functools.partial(visualise, trained.network, counted=counted))
    found = []
    for seed in bar(NOISE_SEEDS, unit="noise"):
        start = noise(jax.random.key(seed), (len(channels), bsd.NUM_STEPS, bsd.NUM_CHANNELS))
        features = ascend(trained.variables, start)
        step, height = map(np.asarray, peaks(features.inputs, BURST_WIDTH))
        found.append(
            Found(
                np.asarray(features.inputs),
                np.exp(features.log_probability[-1]),
                bsd.TIME_PER_STEP * step,
                1 + (-height).argsort(axis=1).argsort(axis=1),
            )
        )
    return Bursts(channels, DURATION * fractions), found


def summary_row(source: str, recovered: np.ndarray, salient: float) -> dict[str, Any]:
    """One row of the summary, from the bursts recovered `[..., 3]`, or the probability of each to be."""
    a, b, c = np.moveaxis(recovered, -1, 0)
    return {
        "estimates": source,
        "bursts_recovered": float(recovered.mean()),
        "classes_with_two_or_more": float((a * b + b * c + c * a - 2 * a * b * c).mean()),
        "channels_among_most_salient": salient,
    }


def summarise(bursts: Bursts, found: Sequence[Found]) -> dict[str, list[Any]]:
    """Fractions, from each noise and by chance."""
    rows = []
    for seed, one in zip(NOISE_SEEDS, found, strict=True):
        salient = one.ranks_of(bursts) <= bsd.CHANNELS_PER_CLASS
        rows.append(summary_row(f"noise {seed}", one.recovers(bursts).astype(float), float(salient.mean())))
    others = [bursts.of_another_class(shift) for shift in range(1, len(bursts.channels))]
    recovered = np.array([[one.recovers(other) for other in others] for one in found], float)
    salient = np.array([[one.ranks_of(other) <= bsd.CHANNELS_PER_CLASS for other in others] for one in found])
    rows.append(summary_row("bursts of other classes", recovered, float(salient.mean())))
    low, high = (DURATION * edge for edge in bsd.CENTRE_RANGE)
    window = np.minimum(bursts.centres + TOLERANCE, high) - np.maximum(bursts.centres - TOLERANCE, low)
    rows.append(summary_row("random times", window / (high - low), bsd.CHANNELS_PER_CLASS / bsd.NUM_CHANNELS))
    return {name: [row[name] for row in rows] for name in rows[0]}


def every_burst(bursts: Bursts, found: Sequence[Found]) -> dict[str, np.ndarray]:
    """The columns of results.csv: from each noise, every burst of every class."""
    shape = (len(found), *bursts.channels.shape)
    noises, classes, _ = np.indices(shape)
    columns = {
        "noise": np.array(NOISE_SEEDS)[noises],
        "class": classes,
        "channel": np.broadcast_to(bursts.channels, shape),
        "true_centre": np.broadcast_to(bursts.centres, shape).round(2),
        "estimated_centre": np.array([one.centres_of(bursts) for one in found]).round(2),
        "recovered": np.array([one.recovers(bursts) for one in found]).astype(int),
        "salience_rank": np.array([one.ranks_of(bursts) for one in found]),
        "class_probability": np.array([one.probability for one in found])[..., None].repeat(shape[-1], -1).round(3),
    }
    return {name: values.ravel() for name, values in columns.items()}


def by_class(bursts: Bursts, found: Sequence[Found]) -> dict[str, list[str]]:
    """The table that is printed: a row for each class."""
    text = {
        "class": [str(number) for number in range(len(bursts.channels))],
        "channels": [joined(channels) for channels in bursts.channels],
        "centres": [joined(centres, ".1f") for centres in bursts.centres],
    }
    for seed, one in zip(NOISE_SEEDS, found, strict=True):
        text[f"noise {seed}"] = [joined(centres, ".1f") for centres in one.centres_of(bursts)]
    text["recovered"] = [joined(counts) for counts in np.array([one.recovers(bursts).sum(1) for one in found]).T]
    return text


def joined(values: np.ndarray, how: str = "d") -> str:
    return " ".join(f"{value:{how}}" for value in values)


def draw(ax: Axes, name: str, inputs: np.ndarray, channels: np.ndarray, centres: np.ndarray, found: np.ndarray) -> Any:
    """One class: the input as an image, its true bursts, and the centres found in their channels."""
    image = ax.imshow(
        inputs.T, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest", origin="lower",
        extent=(-bsd.TIME_PER_STEP / 2, DURATION - bsd.TIME_PER_STEP / 2, -0.5, bsd.NUM_CHANNELS - 0.5),
    )  # fmt: skip
    ax.plot(
        centres, channels, "o", color=VERMILION, markerfacecolor="none", markersize=13, markeredgewidth=1.8,
        clip_on=False, label="true burst of the class",
    )  # fmt: skip
    ax.plot(found, channels, "x", color=BLUE, markersize=7, markeredgewidth=1.8, label="centre found in its channel")
    ax.axvline(ANSWERS_FROM, color=BLACK, linewidth=1, linestyle=":", label="from here on the network answers")
    recovered = int((np.abs(found - centres) < TOLERANCE).sum())
    ax.set_title(f"{name}: {recovered} of {len(centres)} within {TOLERANCE:g}")
    ax.set_xticks(range(0, round(DURATION) + 1, 5))
    ax.set_yticks(range(0, bsd.NUM_CHANNELS, 3))
    return image


def save_figure(bursts: Bursts, found: Found, path: Path) -> None:
    rows = -(-len(bursts.channels) // COLUMNS)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.8 + 1.75 * rows))
        axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
        estimates = found.centres_of(bursts)
        for number, (ax, *of_class) in enumerate(zip(axes.flat, found.inputs, *bursts, estimates, strict=False)):
            image = draw(ax, f"class {number}", *of_class)
        for ax in axes.flat[len(bursts.channels) :]:
            ax.set_axis_off()
        for ax in axes[-1]:
            ax.set_xlabel("time (units of 10 steps)")
        for ax in axes[:, 0]:
            ax.set_ylabel("channel")
        figure.colorbar(image, ax=axes, label="input found (probability of a spike)", aspect=50, pad=0.01)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        figure.savefig(path, dpi=150)


def study() -> None:
    folder = local_path(FOLDER.value, "--output_dir")
    with errors_in_one_line("the same command goes on"):
        workdir = folder / "run" if WORKDIR.value is None else local_path(WORKDIR.value, "--workdir")
        if WORKDIR.value is None:
            train_and_evaluate(get_config("quick"), workdir)
        bursts, found = find(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / "results.csv", every_burst(bursts, found))
        summary = summarise(bursts, found)
        write_table(folder / "summary.csv", summary)
        save_figure(bursts, found[0], folder / "figure.png")
        print("\n".join(table_lines(by_class(bursts, found))), end="\n\n")
        print("\n".join(table_lines(summary)))
        print(f"mean probability of the class: {np.mean([one.probability for one in found]):.3f}")
        print(f"tables and figure: {folder / 'results.csv'}, {folder / 'summary.csv'}, {folder / 'figure.png'}")


if __name__ == "__main__":
    run(study)
