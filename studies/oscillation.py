"""Forecasts of several spring-mass systems by SE-adLIF, EF-adLIF and LIF networks and an LSTM.

    python -m studies.oscillation --output_dir=runs/oscillation-study [--quick] [--systems=0,1,2,3] [--seeds=0]

The full length is 200 epochs per system, and needs a GPU. `--quick` is 40 epochs. Writes results.csv and figure.png.
"""

import numpy as np
from absl import flags
from matplotlib import rc_context
from matplotlib.figure import Figure

from configs import oscillation
from seadlif_jax.plots import PURPLE, STYLE
from studies import colours
from studies.cases import define_numbers, save_table, selected, test_scores, train_all
from studies.command import run

SYSTEMS = define_numbers("systems", "0,1,2,3", "Seeds from which the springs are drawn.")
QUICK = flags.DEFINE_bool("quick", False, "Train for a fifth of the epochs.")
NEURONS = colours.NEURONS | {"lstm": "LSTM"}
COLOURS = colours.COLOURS | {"lstm": PURPLE}


def study() -> None:
    cases = {}
    for system in map(int, SYSTEMS.value):
        for neuron in selected(NEURONS):
            config = oscillation.get_config(f"{neuron},quick" if QUICK.value else neuron)
            config.data.seed = system
            cases[neuron, system] = config
    results = train_all(cases, lambda case: f"{case[0]}-system-{case[1]}")
    scores = {case: test_scores(members, "mse") for case, members in results.items()}
    figure_path = save_table(
        {
            "neuron": [neuron for neuron, _ in scores],
            "system": [system for _, system in scores],
        },
        list(scores.values()),
        "mse",
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(5.5, 3.8))
        ax = figure.subplots()
        for position, neuron in enumerate(selected(NEURONS)):
            mses = np.concatenate([error for (other, _), error in scores.items() if other == neuron])
            ax.plot([position] * len(mses), mses, "o", color=COLOURS[neuron], alpha=0.6)
            if len(mses):
                ax.hlines(mses.mean(), position - 0.25, position + 0.25, color=COLOURS[neuron], linewidth=2)
        ax.set_yscale("log")
        ax.set_xticks(range(len(selected(NEURONS))), selected(NEURONS).values())
        ax.set_ylabel("MSE of the second half")
        figure.savefig(figure_path, dpi=150)


if __name__ == "__main__":
    run(study)
