"""Draw accuracies under added events, docs/images/robustness.png: `python -m docs.draw_robustness`.

The numbers are those of benchmarks/results/robustness.csv.
"""

import csv
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from seadlif_jax.plots import STYLE
from studies.colours import COLOURS, NEURONS

ROOT = Path(__file__).resolve().parents[1]
TASKS = {"ecg": "ECG", "spoken digits (not SHD)": "spoken digits (not SHD)", "bsd": "BSD, 10 classes"}


def save_robustness(path: Path) -> None:
    with (ROOT / "benchmarks" / "results" / "robustness.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["shift"] == "events"]
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
        for ax, (task, title) in zip(axes, TASKS.items(), strict=True):
            for neuron, label in NEURONS.items():
                curve = [row for row in rows if (row["task"], row["neuron"]) == (task, neuron)]
                levels = [float(row["level"]) for row in curve]
                accuracies = [100 * float(row["accuracy"]) for row in curve]
                ax.plot(levels, accuracies, "o-", color=COLOURS[neuron], markersize=4, label=label)
            ax.set_title(title)
            ax.set_ylim(0, 100)
        axes[0].set_ylabel("test accuracy (%)")
        axes[0].legend(loc="lower left")
        figure.supxlabel("mean number of events added per channel and step", fontsize=11)
        figure.savefig(path, dpi=120)


if __name__ == "__main__":
    save_robustness(ROOT / "docs" / "images" / "robustness.png")
