"""ECG labelling by SE-adLIF, EF-adLIF and LIF networks of two layers, over seeds.

    python -m studies.ecg --output_dir=runs/ecg-study --data_dir=DIR [--seeds=0,1,2,3,4]

About ten minutes per neuron, for three seeds on two cores. Writes results.csv and figure.png.
"""

from absl import flags
from matplotlib import rc_context
from matplotlib.figure import Figure

from configs import ecg
from seadlif_jax.plots import BLACK, STYLE
from studies.cases import save_table, selected, test_scores, train_all
from studies.colours import COLOURS, NEURONS
from studies.command import run

DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Folder that holds QTDB/QTDB_train.mat.")
PUBLISHED = {"se_adlif": 88.18, "ef_adlif": 87.83, "lif": None}  # percent


def study() -> None:
    cases = {neuron: ecg.get_config(neuron) for neuron in selected(NEURONS)}
    for config in cases.values():
        config.data.dir = DATA_DIR.value
    accuracies = {neuron: 100 * test_scores(members, "accuracy") for neuron, members in train_all(cases, str).items()}
    figure_path = save_table(
        {
            "neuron": list(accuracies),
            "published": [PUBLISHED[neuron] or "" for neuron in accuracies],
        },
        list(accuracies.values()),
        "accuracy",
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 3.6))
        ax = figure.subplots()
        for position, (neuron, accuracy) in enumerate(accuracies.items()):
            ax.plot([position] * len(accuracy), accuracy, "o", color=COLOURS[neuron], alpha=0.6)
            if len(accuracy):
                ax.hlines(accuracy.mean(), position - 0.25, position + 0.25, color=COLOURS[neuron], linewidth=2)
            if published := PUBLISHED[neuron]:
                ax.hlines(published, position - 0.25, position + 0.25, color=BLACK, linestyle=":")
        ax.plot([], [], ":", color=BLACK, label="published")
        ax.set_xticks(range(len(accuracies)), [NEURONS[neuron] for neuron in accuracies])
        ax.set_ylabel("ECG test accuracy (%)")
        ax.legend()
        figure.savefig(figure_path, dpi=150)


if __name__ == "__main__":
    run(study)
