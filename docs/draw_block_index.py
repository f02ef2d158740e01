"""The drawings of the guides, which show no measurement.

    python -m docs.make_figures

Leaves block-index.png and architecture.png in docs/.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from seadlif_jax.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, STYLE, VERMILION, YELLOW

FOLDER = Path(__file__).parent
GREY = "#DDDDDD"  # of block 0


class Band(NamedTuple):
    """A row of the architecture: what it is for, and its files with what each does.

    A file imports from its own band and from those below it; `tests/test_docs.py` checks it.
    """

    name: str
    colour: str
    files: dict[str, str]


BANDS = (
    Band(
        "commands",
        GREY,
        {
            "train.py": "config to run",
            "evaluate.py": "a run, tested",
            "look.py": "a run, inside",
            "compare.py": "several runs",
            "studies/": "comparisons",
        },
    ),
    Band(
        "a run, and\nits network in use",
        SKY,
        {
            "training.py": "config to result",
            "additions.py": "more members",
            "pretrained.py": "where it starts",
            "loop.py": "epoch by epoch",
            "results.py": "what is left behind",
            "trained.py": "predict, export",
            "evaluation.py": "class by class",
        },
    ),
    Band(
        "what a run\nis made of",
        SKY,
        {
            "task.py": "puts it together",
            "sweep.py": "members, settings",
            "run.py": "the folder",
            "checkpoint.py": "saves (orbax)",
            "inference.py": "compiled calls",
        },
    ),
    Band("pure functions", ORANGE, {"program.py": "init, train_steps, end_epoch, evaluate: state to state"}),
    Band(
        "samples on devices",
        YELLOW,
        {
            "config.py": "fields, checks",
            "dataset.py": "the contract",
            "devices.py": "members, shares",
            "divided.py": "large data",
            "trim.py": "short batches",
        },
    ),
    Band(
        "the network",
        GREEN,
        {
            "network.py": "parameters (Flax)",
            "readout.py": "blocks, losses",
            "optimizer.py": "Adam, boxes (optax)",
        },
    ),
    Band(
        "through time",
        PURPLE,
        {
            "unroll.py": "layers, chunk by chunk",
            "adjoint.py": "the gradient by hand",
            "compute.py": "precision, chunks",
        },
    ),
    Band("one step", VERMILION, {"neurons.py": "state, current to state", "surrogate.py": "spike, its gradient"}),
)


def save_architecture(path: Path) -> None:
    left, width, height, gap = 2.35, 10.6, 0.78, 0.3
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 8.8))
        ax = figure.subplots()
        for row, band in enumerate(BANDS):
            y = -row * (height + gap)
            ax.text(left - 0.2, y + height / 2, band.name, ha="right", va="center", fontweight="bold")
            box_width = (width - 0.15 * (len(band.files) - 1)) / len(band.files)
            for column, (name, purpose) in enumerate(band.files.items()):
                _box(ax, left + column * (box_width + 0.15), y, box_width, height, band.colour, name, purpose)
            if row:
                middle = left + width / 2
                arrow = {"arrowstyle": "-|>", "color": BLACK, "linewidth": 1.4, "shrinkA": 2, "shrinkB": 2}
                ax.annotate("", (middle, y + height), (middle, y + height + gap), arrowprops=arrow)

        # The tasks stand beside the library.
        x = left + width + 0.95
        down = (height + gap) * np.arange(len(BANDS))
        _box(ax, x, -down[1], 2.1, height, GREY, "configs/", "one file a task")
        _box(ax, x, -down[4], 2.1, height, GREY, "data/", "one loader a task")
        dashed = {"arrowstyle": "-|>", "color": BLACK, "linewidth": 1.4, "linestyle": "--", "shrinkA": 2, "shrinkB": 2}
        edge = left + width
        for y, text in ((-down[1] + height / 2, "config"), (-down[4] + height / 2, "arrays")):
            ax.annotate("", (edge, y), (x, y), arrowprops=dashed)
            ax.text((edge + x) / 2, y + 0.1, text, ha="center", va="bottom", fontsize=10)
        ax.annotate("", (x + 1.05, -down[4] + height), (x + 1.05, -down[1]), arrowprops=dashed)
        names = 'names its loader:\n"data.bsd:load"'
        ax.text(x + 1.15, (-down[1] - down[4] + height) / 2, names, ha="left", va="center", fontsize=10)
        ax.set(xlim=(0, x + 3.0), ylim=(-down[-1] - 0.1, height + 0.1))
        ax.set_axis_off()
        figure.savefig(path, dpi=120)


def _box(ax: Axes, x: float, y: float, width: float, height: float, colour: str, name: str, purpose: str) -> None:
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.1", facecolor=colour, alpha=0.35, linewidth=0
    )
    ax.add_patch(shape)
    ax.text(x + width / 2, y + 0.68 * height, name, ha="center", va="center", family="monospace")
    ax.text(x + width / 2, y + 0.28 * height, purpose, ha="center", va="center", fontsize=9.5)


def save_block_index(path: Path) -> None:
    whole = np.repeat([0, 1, 0], [3, 15, 6])
    each = np.repeat([*range(1, 19), 0], [*[1] * 18, 6])
    rng = np.random.default_rng(0)
    events = rng.random((4, 24)) < 0.4
    events[:, 18:] = False
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 5.6))
        top, bottom = figure.subplots(2)
        _sample(top, events, whole, "(a) one block a sample: the whole recording has one class")
        _bracket(top, 3, 18, "block 1: its steps together give one score a class,\ncompared with targets[1]")
        _bracket(top, 0, 3, "block 0: steps\nwithout an answer")
        _bracket(top, 18, 24, "block 0: padding to the\nlength of other samples")
        _sample(bottom, events, each, "(b) one block a step: every step has a class of its own")
        _bracket(bottom, 0, 18, "step t is block t + 1: its readout is the score, compared with targets[t + 1]")
        _bracket(bottom, 18, 24, "block 0: padding")
        figure.savefig(path, dpi=120)


def _sample(ax: Axes, events: np.ndarray, blocks: np.ndarray, title: str) -> None:
    channels, steps = np.nonzero(events)
    ax.vlines(steps + 0.5, 1.35 + 0.4 * channels, 1.65 + 0.4 * channels, color=BLACK, linewidth=1.5)
    for step, block in enumerate(blocks):
        shade = GREY if block == 0 else (SKY if blocks.max() == 1 or block % 2 else YELLOW)
        ax.add_patch(
            FancyBboxPatch((step + 0.03, 0.2), 0.94, 0.7, boxstyle="square,pad=0", facecolor=shade, linewidth=0)
        )
        ax.text(step + 0.5, 0.55, str(block), ha="center", va="center", color=BLACK)
    for y, text in ((2.1, "inputs"), (0.55, "block_index"), (-0.48, "readout")):
        ax.text(-0.4, y, text, ha="right", va="center", family="monospace" if text != "readout" else None)
    ax.set(xlim=(-3.2, len(blocks) + 0.1), ylim=(-1.2, 3.1), title=title)
    ax.set_axis_off()


def _bracket(ax: Axes, start: float, stop: float, text: str) -> None:
    x = [start + 0.1, start + 0.1, stop - 0.1, stop - 0.1]
    ax.plot(x, [0.1, -0.1, -0.1, 0.1], color=BLUE if "compared" in text else "#666666", linewidth=1.5)
    ax.text((start + stop) / 2, -0.25, text, ha="center", va="top", fontsize=9.5)


def main() -> None:
    save_block_index(FOLDER / "block-index.png")
    save_architecture(FOLDER / "architecture.png")


if __name__ == "__main__":
    main()
