"""Forecasts of spring-mass systems, each with springs of its own, by SE-adLIF, EF-adLIF and LIF networks and an LSTM.

    python -m studies.oscillation --output_dir=runs/oscillation-study [--quick] [--systems=0,1,2,3] [--seeds=0]

In full, 200 epochs a system: for a GPU. `--quick` is 40 epochs. Leaves results.csv and figure.png.
"""

import numpy as np
from absl import flags
from matplotlib import rc_context
from matplotlib.figure import Figure

from configs import oscillation
from seadlif_jax.plots import PURPLE, STYLE
from studies import neurons
from studies.cases import chosen, define_numbers, save_table, scores, train_all
from studies.command import run

SYSTEMS = define_numbers("systems", "0,1,2,3", "The seeds that the springs are drawn by.")
QUICK = flags.DEFINE_bool("quick", False, "A fifth of the epochs.")
NEURONS = neurons.NEURONS | {"lstm": "LSTM"}
COLOURS = neurons.COLOURS | {"lstm": PURPLE}


def study() -> None:
    cases = {}
    for system in map(int, SYSTEMS.value):
        for neuron in chosen(NEURONS):
            config = oscillation.get_config(f"{neuron},quick" if QUICK.value else neuron)
            config.data.seed = system
            cases[neuron, system] = config
    results = train_all(cases, lambda case: f"{case[0]}-system-{case[1]}")
    found = {case: scores(members, "mse") for case, members in results.items()}
    figure_path = save_table(
        {
            "neuron": [neuron for neuron, _ in found],
            "system": [system for _, system in found],
        },
        list(found.values()),
        "mse",
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(5.5, 3.8))
        ax = figure.subplots()
        for position, neuron in enumerate(chosen(NEURONS)):
            errors = np.concatenate([error for (other, _), error in found.items() if other == neuron])
            ax.plot([position] * len(errors), errors, "o", color=COLOURS[neuron], alpha=0.6)
            if len(errors):
                ax.hlines(errors.mean(), position - 0.25, position + 0.25, color=COLOURS[neuron], linewidth=2)
        ax.set_yscale("log")
        ax.set_xticks(range(len(chosen(NEURONS))), chosen(NEURONS).values())
        ax.set_ylabel("MSE of the second half")
        figure.savefig(figure_path, dpi=150)


if __name__ == "__main__":
    run(study)
