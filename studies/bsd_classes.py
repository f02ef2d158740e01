"""How the error of burst sequence detection grows with the number of classes (the paper's Fig. 6b).

    python -m studies.bsd_classes --output_dir=runs/bsd-study [--quick] [--classes=2,5,10,15,20] [--seeds=0,1,2]

In full, networks of 510 neurons learn from 8,000 samples in 400 epochs: for a GPU. `--quick` is 128 neurons, half the
samples and 20 epochs: about 15 minutes on two cores. Leaves results.csv and figure.png.
"""

from absl import flags
from matplotlib import rc_context
from matplotlib.figure import Figure

from configs import bsd
from seadlif_jax.plots import STYLE
from studies.cases import chosen, define_numbers, save_table, scores, train_all
from studies.command import run
from studies.neurons import COLOURS, NEURONS

CLASSES = define_numbers("classes", "2,5,10,15,20", "The numbers of classes.")
QUICK = flags.DEFINE_bool("quick", False, "Smaller networks, fewer samples and epochs.")


def study() -> None:
    cases = {}
    for count in map(int, CLASSES.value):
        for neuron in chosen(NEURONS):
            config = bsd.get_config(f"{neuron},quick" if QUICK.value else neuron)
            config.data.num_classes = count
            cases[neuron, count] = config
    results = train_all(cases, lambda case: f"{case[0]}-{case[1]}-classes")
    found = {case: 100 - 100 * scores(members, "accuracy") for case, members in results.items()}
    figure_path = save_table(
        {
            "neuron": [neuron for neuron, _ in found],
            "classes": [count for _, count in found],
        },
        list(found.values()),
        "error",
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(5.5, 3.8))
        ax = figure.subplots()
        for neuron, name in chosen(NEURONS).items():
            curve = {count: error for (other, count), error in found.items() if other == neuron and len(error)}
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
