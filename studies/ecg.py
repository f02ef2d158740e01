"""ECG labelling by SE-adLIF, EF-adLIF and LIF networks of two layers, over seeds.

    python -m studies.ecg --output_dir=runs/ecg-study --data_dir=DIR [--seeds=0,1,2,3,4] [--recipes=paper,best]

About ten minutes per neuron and recipe, for three seeds on two cores. Writes results.csv and figure.png.
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
RECIPES = flags.DEFINE_list("recipes", "paper", "Recipes of configs/ecg.py to train with.")
flags.register_validator(
    RECIPES,
    lambda names: set(names) <= set(ecg.CHOICES["recipe"]),
    f"they must be of {', '.join(ecg.CHOICES['recipe'])}",
)
PUBLISHED = {"se_adlif": 88.18, "ef_adlif": 87.83, "lif": None}  # percent


def study() -> None:
    cases = {
        (neuron, recipe): ecg.get_config(f"{neuron},{recipe}")
        for recipe in RECIPES.value
        for neuron in selected(NEURONS)
    }
    for config in cases.values():
        config.data.dir = DATA_DIR.value
    results = train_all(cases, lambda case: case[0] if case[1] == "paper" else "-".join(case))
    accuracies = {case: 100 * test_scores(members, "accuracy") for case, members in results.items()}
    figure_path = save_table(
        {
            "neuron": [neuron for neuron, _ in accuracies],
            "recipe": [recipe for _, recipe in accuracies],
            "published": [PUBLISHED[neuron] or "" for neuron, _ in accuracies],
        },
        list(accuracies.values()),
        "accuracy",
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 3.6))
        ax = figure.subplots()
        for position, ((neuron, _), accuracy) in enumerate(accuracies.items()):
            ax.plot([position] * len(accuracy), accuracy, "o", color=COLOURS[neuron], alpha=0.6)
            if len(accuracy):
                ax.hlines(accuracy.mean(), position - 0.25, position + 0.25, color=COLOURS[neuron], linewidth=2)
            if published := PUBLISHED[neuron]:
                ax.hlines(published, position - 0.25, position + 0.25, color=BLACK, linestyle=":")
        ax.plot([], [], ":", color=BLACK, label="published")
        ax.set_xticks(range(len(accuracies)), [f"{NEURONS[neuron]}\n{recipe}" for neuron, recipe in accuracies])
        ax.set_ylabel("ECG test accuracy (%)")
        ax.legend()
        figure.savefig(figure_path, dpi=150)


if __name__ == "__main__":
    run(study)
