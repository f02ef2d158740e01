"""Draw the picture of blocks, docs/images/block-index.png: `python docs/draw_block_index.py`."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from seadlif_jax.plots import BLACK, BLUE, SKY, STYLE, YELLOW

FOLDER = Path(__file__).parent / "images"
GREY = "#DDDDDD"  # of block 0


def save_block_index(path: Path) -> None:
    whole = np.repeat([0, 1, 0], [3, 15, 6])
    each = np.repeat([*range(1, 19), 0], [*[1] * 18, 6])
    rng = np.random.default_rng(0)
    events = rng.random((4, 24)) < 0.4
    events[:, 18:] = False
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 5.6))
        top, bottom = figure.subplots(2)
        _sample(top, events, whole, "(a) one block per sample: the whole recording has one class")
        _bracket(top, 3, 18, "block 1: its steps together give one score per class,\ncompared with targets[1]")
        _bracket(top, 0, 3, "block 0: steps\nwithout an answer")
        _bracket(top, 18, 24, "block 0: padding to the\nlength of other samples")
        _sample(bottom, events, each, "(b) one block per step: every step has a class")
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


if __name__ == "__main__":
    main()
