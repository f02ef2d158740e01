"""Error of burst sequence detection against the number of classes (the paper's Fig. 6b).

    python -m studies.bsd_classes --output_dir=runs/bsd-study [--quick] [--classes=2,5,10,15,20] [--seeds=0,1,2]

The full size is 510 neurons, 8,000 samples and 400 epochs, and needs a GPU. `--quick` is 128 neurons, half the samples
and 20 epochs: about 15 minutes on two cores. Writes results.csv and figure.png.
"""

from absl import flags
from matplotlib import rc_context
from matplotlib.figure import Figure

from configs import bsd
from seadlif_jax.plots import STYLE
from studies.cases import define_numbers, save_table, selected, test_scores, train_all
from studies.colours import COLOURS, NEURONS
from studies.command import run

CLASSES = define_numbers("classes", "2,5,10,15,20", "Numbers of classes.")
QUICK = flags.DEFINE_bool("quick", False, "Use a smaller network, fewer samples and fewer epochs.")


def study() -> None:
    cases = {}
    for count in map(int, CLASSES.value):
        for neuron in selected(NEURONS):
            config = bsd.get_config(f"{neuron},quick" if QUICK.value else neuron)
            config.data.num_classes = count
            cases[neuron, count] = config
    results = train_all(cases, lambda case: f"{case[0]}-{case[1]}-classes")
    errors = {case: 100 - 100 * test_scores(members, "accuracy") for case, members in results.items()}
    figure_path = save_table(
        {
            "neuron": [neuron for neuron, _ in errors],
            "classes": [count for _, count in errors],
        },
        list(errors.values()),
        "error",
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(5.5, 3.8))
        ax = figure.subplots()
        for neuron, name in selected(NEURONS).items():
            curve = {count: error for (other, count), error in errors.items() if other == neuron and len(error)}
            ax.plot(list(curve), [error.mean() for error in curve.values()], "-", color=COLOURS[neuron], label=name)
            for count, error in curve.items():
                ax.plot([count] * len(error), error, "o", color=COLOURS[neuron], markersize=4, alpha=0.6)
        ax.set_xticks(list(map(int, CLASSES.value)))
        ax.set_xlabel("classes")
        ax.set_ylabel("BSD test error (%)")
        ax.set_ylim(bottom=0)
        ax.legend()
        figure.savefig(figure_path, dpi=150)


if __name__ == "__main__":
    run(study)
