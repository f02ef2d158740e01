"""Forecasts of several spring-mass systems by SE-adLIF, EF-adLIF and LIF networks and an LSTM.

    python -m studies.oscillation --output_dir=runs/oscillation-study [--quick] [--systems=0,1,2,3] [--seeds=0]

The full length is 200 epochs per system. `--quick` is 40 epochs. Writes results.csv, trajectory.csv (the mean squared
error in windows along the trajectory, means over systems and seeds) and figure.png.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib import rc_context
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from configs import oscillation
from seadlif_jax.analysis.forecast_error import Windows, cut_windows, squared_errors
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.inference import load_run
from seadlif_jax.losses import feedback_start
from seadlif_jax.plots import PURPLE, STYLE, YELLOW
from seadlif_jax.plots.forecast_curves import FEEDBACK
from seadlif_jax.runs.files import write_table
from seadlif_jax.utils.paths import local_path
from studies import colours
from studies.cases import define_numbers, save_table, selected, test_scores, train_all
from studies.command import FOLDER, run

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
    results = train_all(cases, case_name)
    scores = {case: test_scores(members, "mse") for case, members in results.items()}
    figure_path = save_table(
        {
            "neuron": [neuron for neuron, _ in scores],
            "system": [system for _, system in scores],
        },
        list(scores.values()),
        "mse",
    )
    errors = {case: errors_of_steps(case, members) for case, members in results.items()}
    data = next(iter(cases.values())).data
    windows = cut_windows(data.num_steps, data.step_ms)
    trajectory = {}
    for neuron in selected(NEURONS):
        of_neuron = [steps for (other, _), of_case in errors.items() if other == neuron for steps in of_case]
        if of_neuron:
            trajectory[neuron] = windows.mean(np.mean(of_neuron, axis=0))
    write_table(
        figure_path.with_name("trajectory.csv"),
        {f"from_{windows.unit}": windows.edges[:-1], f"to_{windows.unit}": windows.edges[1:], **trajectory},
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.8))
        of_systems, along = figure.subplots(1, 2, width_ratios=(2, 3))
        draw_scores(of_systems, scores)
        draw_trajectory(along, windows, trajectory, data)
        figure.savefig(figure_path, dpi=150)


def case_name(case: tuple[str, int]) -> str:
    """Return the name of the folder of a neuron and a system."""
    neuron, system = case
    return f"{neuron}-system-{system}"


def errors_of_steps(case: tuple[str, int], members: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the mean squared error of every step of the test samples, `[time]`, for each member with a result."""
    folder = local_path(FOLDER.value, "--output_dir") / case_name(case)
    networks = [load_run(folder, member["member"]) for member in members if not member["diverged"]]
    if not networks:
        return []
    test = networks[0].dataset().test  # the seeds share the data
    samples = Samples.of(test)
    return [squared_errors(jnp.asarray(trained.outputs(test.inputs)), samples).steps for trained in networks]


def draw_scores(ax: Any, scores: Mapping[tuple[str, int], np.ndarray]) -> None:
    """Draw the error of every system and seed, and the mean of each neuron."""
    for position, neuron in enumerate(selected(NEURONS)):
        mses = np.concatenate([error for (other, _), error in scores.items() if other == neuron])
        ax.plot([position] * len(mses), mses, "o", color=COLOURS[neuron], alpha=0.6)
        if len(mses):
            ax.hlines(mses.mean(), position - 0.25, position + 0.25, color=COLOURS[neuron], linewidth=2)
    ax.set_yscale("log")
    ax.set_xticks(range(len(selected(NEURONS))), selected(NEURONS).values(), rotation=30)
    ax.set_ylabel("MSE of the second half")
    ax.set_title("(a) systems, and their mean")


def draw_trajectory(ax: Any, windows: Windows, trajectory: Mapping[str, np.ndarray], data: ConfigDict) -> None:
    """Draw the mean error of each neuron in windows along the trajectory."""
    start, end = data.step_ms * feedback_start(data.num_steps), data.step_ms * data.num_steps
    ax.axvspan(start, end, color=YELLOW, alpha=0.3, linewidth=0, label=FEEDBACK)
    for neuron, mses in trajectory.items():
        ax.stairs(mses, windows.edges, baseline=None, color=COLOURS[neuron], linewidth=1.8, label=NEURONS[neuron])
    ax.set_yscale("log")
    ax.set_xlabel(f"time ({windows.unit})")
    ax.set_ylabel("MSE")
    ax.set_title("(b) along the trajectory")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


if __name__ == "__main__":
    run(study)
