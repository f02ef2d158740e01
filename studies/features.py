"""Inputs that maximise each class of burst sequence detection in a trained network (the paper's Fig. 6d).

    python -m studies.features --output_dir=runs/bsd-features [--workdir=runs/bsd-quick-seed0]

For every class, gradient ascent from three samples of noise finds an input (`analysis.activation_maximization`). It is
compared with the three bursts that define the class, which the ascent does not use. The estimated burst centre of a
channel is the time at which the input, smoothed with the width of a burst, is largest. The three most salient channels
are those whose peak exceeds their mean most. Chance levels: the same estimates against the bursts of all other classes,
and times drawn uniformly from the range of burst centres.

Without `--workdir`, a network of `configs/bsd.py:quick` is trained first, in OUTPUT_DIR/run (about 20 seconds). Writes
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
from seadlif_jax.analysis.activation_maximization import draw_noise, find_peaks, maximize_activation
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.inference import load_run
from seadlif_jax.plots import BLACK, BLUE, STYLE, VERMILION
from seadlif_jax.runs.files import write_table
from seadlif_jax.training import fit
from seadlif_jax.utils.paths import local_path
from seadlif_jax.utils.progress import bar
from seadlif_jax.utils.tables import table_lines
from studies.command import FOLDER, run

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run of configs/bsd.py; trained first if not given.")

NOISE_SEEDS = (0, 1, 2)
TOLERANCE = 1.5  # units of time; a sample has 20
DURATION = bsd.TIME_PER_STEP * bsd.NUM_STEPS
BURST_WIDTH = bsd.BURST_VARIANCE**0.5 / bsd.TIME_PER_STEP  # steps
ANSWERS_FROM = bsd.TIME_PER_STEP * (bsd.NUM_STEPS - bsd.ANSWER_STEPS)  # units
COLUMNS = 2  # of the figure


class Bursts(NamedTuple):
    """Channels, and centres in units of time, of the bursts that define the classes; `[class, 3]`."""

    channels: np.ndarray
    centres: np.ndarray

    def shifted_classes(self, shift: int) -> "Bursts":
        return Bursts(np.roll(self.channels, shift, axis=0), np.roll(self.centres, shift, axis=0))


class Estimates(NamedTuple):
    """Inputs that maximise the classes, from one noise sample, and the estimates derived from them.

    Attributes:
      inputs: `[class, time, channel]`.
      probability: of the class, `[class]`: geometric mean over the steps in which the network answers.
      centres: estimated burst centres, `[class, channel]`, in units of time.
      ranks: ranks of the channels by salience, `[class, channel]`; 1 is the most salient.
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


def maximize_classes(workdir: Path) -> tuple[Bursts, list[Estimates]]:
    """Return the bursts of a run's classes, and the estimates from each noise sample."""
    trained = load_run(workdir)
    if trained.config.data.loader != "data.bsd:load":
        sys.exit(f"error: {workdir} is a run of {trained.config.data.loader}, not of configs/bsd.py")
    channels, fractions = bsd.class_patterns(trained.config.data.num_classes, trained.config.data.seed)
    answer_mask = np.arange(bsd.NUM_STEPS) >= bsd.NUM_STEPS - bsd.ANSWER_STEPS
    ascend = jax.jit(functools.partial(maximize_activation, trained.network, step_mask=answer_mask))
    estimates = []
    for seed in bar(NOISE_SEEDS, unit="noise"):
        start = draw_noise(jax.random.key(seed), (len(channels), bsd.NUM_STEPS, bsd.NUM_CHANNELS))
        features = ascend(trained.variables, start)
        step, height = map(np.asarray, find_peaks(features.inputs, BURST_WIDTH))
        estimates.append(
            Estimates(
                np.asarray(features.inputs),
                np.exp(features.log_probability[-1]),
                bsd.TIME_PER_STEP * step,
                1 + (-height).argsort(axis=1).argsort(axis=1),
            )
        )
    return Bursts(channels, DURATION * fractions), estimates


def summary_row(source: str, recovered: np.ndarray, salient: float) -> dict[str, Any]:
    """Return a row of the summary, from the bursts recovered `[..., 3]`, or the probability that each is."""
    a, b, c = np.moveaxis(recovered, -1, 0)
    return {
        "estimates": source,
        "bursts_recovered": float(recovered.mean()),
        "classes_with_two_or_more": float((a * b + b * c + c * a - 2 * a * b * c).mean()),
        "channels_among_most_salient": salient,
    }


def summarise(bursts: Bursts, estimates: Sequence[Estimates]) -> dict[str, list[Any]]:
    """Return the fractions recovered, from each noise sample and by chance."""
    rows = []
    for seed, estimate in zip(NOISE_SEEDS, estimates, strict=True):
        salient = estimate.ranks_of(bursts) <= bsd.CHANNELS_PER_CLASS
        rows.append(summary_row(f"noise {seed}", estimate.recovers(bursts).astype(float), float(salient.mean())))
    others = [bursts.shifted_classes(shift) for shift in range(1, len(bursts.channels))]
    recovered = np.array([[estimate.recovers(other) for other in others] for estimate in estimates], float)
    salient = np.array(
        [[estimate.ranks_of(other) <= bsd.CHANNELS_PER_CLASS for other in others] for estimate in estimates]
    )
    rows.append(summary_row("bursts of other classes", recovered, float(salient.mean())))
    low, high = (DURATION * edge for edge in bsd.CENTRE_RANGE)
    window = np.minimum(bursts.centres + TOLERANCE, high) - np.maximum(bursts.centres - TOLERANCE, low)
    rows.append(summary_row("random times", window / (high - low), bsd.CHANNELS_PER_CLASS / bsd.NUM_CHANNELS))
    return {name: [row[name] for row in rows] for name in rows[0]}


def burst_table(bursts: Bursts, estimates: Sequence[Estimates]) -> dict[str, np.ndarray]:
    """Return the columns of results.csv: for each noise sample, every burst of every class."""
    shape = (len(estimates), *bursts.channels.shape)
    noises, classes, _ = np.indices(shape)
    columns = {
        "noise": np.array(NOISE_SEEDS)[noises],
        "class": classes,
        "channel": np.broadcast_to(bursts.channels, shape),
        "true_centre": np.broadcast_to(bursts.centres, shape).round(2),
        "estimated_centre": np.array([estimate.centres_of(bursts) for estimate in estimates]).round(2),
        "recovered": np.array([estimate.recovers(bursts) for estimate in estimates]).astype(int),
        "salience_rank": np.array([estimate.ranks_of(bursts) for estimate in estimates]),
        "class_probability": np.array([estimate.probability for estimate in estimates])[..., None]
        .repeat(shape[-1], -1)
        .round(3),
    }
    return {name: values.ravel() for name, values in columns.items()}


def class_table(bursts: Bursts, estimates: Sequence[Estimates]) -> dict[str, list[str]]:
    """Return the printed table: one row per class."""
    text = {
        "class": [str(number) for number in range(len(bursts.channels))],
        "channels": [joined(channels) for channels in bursts.channels],
        "centres": [joined(centres, ".1f") for centres in bursts.centres],
    }
    for seed, estimate in zip(NOISE_SEEDS, estimates, strict=True):
        text[f"noise {seed}"] = [joined(centres, ".1f") for centres in estimate.centres_of(bursts)]
    text["recovered"] = [
        joined(counts) for counts in np.array([estimate.recovers(bursts).sum(1) for estimate in estimates]).T
    ]
    return text


def joined(values: np.ndarray, spec: str = "d") -> str:
    return " ".join(f"{value:{spec}}" for value in values)


def draw(
    ax: Axes, name: str, inputs: np.ndarray, channels: np.ndarray, centres: np.ndarray, estimates: np.ndarray
) -> Any:
    """Draw one class: the input as an image, the true bursts, and the estimated centres in their channels."""
    image = ax.imshow(
        inputs.T, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest", origin="lower",
        extent=(-bsd.TIME_PER_STEP / 2, DURATION - bsd.TIME_PER_STEP / 2, -0.5, bsd.NUM_CHANNELS - 0.5),
    )  # fmt: skip
    ax.plot(
        centres, channels, "o", color=VERMILION, markerfacecolor="none", markersize=13, markeredgewidth=1.8,
        clip_on=False, label="true burst of the class",
    )  # fmt: skip
    ax.plot(
        estimates, channels, "x", color=BLUE, markersize=7, markeredgewidth=1.8, label="estimated centre in its channel"
    )
    ax.axvline(ANSWERS_FROM, color=BLACK, linewidth=1, linestyle=":", label="the network answers from here on")
    recovered = int((np.abs(estimates - centres) < TOLERANCE).sum())
    ax.set_title(f"{name}: {recovered} of {len(centres)} within {TOLERANCE:g}")
    ax.set_xticks(range(0, round(DURATION) + 1, 5))
    ax.set_yticks(range(0, bsd.NUM_CHANNELS, 3))
    return image


def save_figure(bursts: Bursts, estimate: Estimates, path: Path) -> None:
    rows = -(-len(bursts.channels) // COLUMNS)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.8 + 1.75 * rows))
        axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
        centres = estimate.centres_of(bursts)
        for number, (ax, *of_class) in enumerate(zip(axes.flat, estimate.inputs, *bursts, centres, strict=False)):
            image = draw(ax, f"class {number}", *of_class)
        for ax in axes.flat[len(bursts.channels) :]:
            ax.set_axis_off()
        for ax in axes[-1]:
            ax.set_xlabel("time (units of 10 steps)")
        for ax in axes[:, 0]:
            ax.set_ylabel("channel")
        figure.colorbar(image, ax=axes, label="input (probability of a spike)", aspect=50, pad=0.01)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        figure.savefig(path, dpi=150)


def study() -> None:
    folder = local_path(FOLDER.value, "--output_dir")
    with errors_in_one_line("run the same command again to continue"):
        workdir = folder / "run" if WORKDIR.value is None else local_path(WORKDIR.value, "--workdir")
        if WORKDIR.value is None:
            fit(get_config("quick"), workdir)
        bursts, estimates = maximize_classes(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / "results.csv", burst_table(bursts, estimates))
        summary = summarise(bursts, estimates)
        write_table(folder / "summary.csv", summary)
        save_figure(bursts, estimates[0], folder / "figure.png")
        print("\n".join(table_lines(class_table(bursts, estimates))), end="\n\n")
        print("\n".join(table_lines(summary)))
        print(f"mean probability of the class: {np.mean([estimate.probability for estimate in estimates]):.3f}")
        print(f"tables and figure: {folder / 'results.csv'}, {folder / 'summary.csv'}, {folder / 'figure.png'}")


if __name__ == "__main__":
    run(study)
