"""All spiking neurons on three tasks, at equal numbers of parameters: accuracy, spikes, operations and time.

    python -m studies.neurons --output_dir=runs/neuron-study --data_dir=DIR [--tasks=ecg,bsd,digits] [--seeds=0,1,2]

The protocol is the same for all neurons. Optimizer, readout, dropout and selection of the best epoch on held-out
samples are those of SE-adLIF for the task, with one hidden layer of as many neurons as have no more parameters than
SE-adLIF. What belongs to a neuron is that of its source for the task: its hyperparameters, its connections, and whether
its currents are normalised over a batch. The learning rate is the one of --learning_rates with the highest mean
validation accuracy over the seeds; the test samples have no part in it.

The tasks: `ecg`, QT database, 100 epochs; `bsd`, the quick size, 20 epochs; `digits`, the small size of SHD with any
files of its format in DIR/SHD, 50 epochs. Writes results.csv and figure.png after every task, and continues when it is
run again.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib import rc_context
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from configs import bsd, ecg, shd
from seadlif_jax.analysis.synops import measure_costs
from seadlif_jax.build import build_network
from seadlif_jax.inference import load_run
from seadlif_jax.plots import STYLE
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.utils.paths import local_path
from studies import colours
from studies.cases import save_table, selected, test_scores, train_all
from studies.command import FOLDER, run

NEURONS = colours.NEURONS | colours.OTHER_NEURONS
DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Folder that holds QTDB/ for ecg, and SHD/ for digits.")
DIGITS_DIR = flags.DEFINE_string("digits_dir", None, "Folder that holds SHD/, if it is another one.")
TASKS = flags.DEFINE_list("tasks", "ecg,bsd,digits", "Tasks to train.")
flags.register_validator(
    TASKS, lambda names: set(names) <= {"ecg", "bsd", "digits"}, "they must be of ecg, bsd and digits"
)
RATES = flags.DEFINE_list("learning_rates", "0.01,0.03,0.1", "Learning rates to choose from.")


class Task(NamedTuple):
    """A task: its module of configs, the variant of a neuron, the number of channels and of epochs."""

    configs: Any
    variant: str
    channels: int
    epochs: int


ALL_TASKS = {
    "ecg": Task(ecg, "{},one_layer", 4, 100),
    "bsd": Task(bsd, "{},quick", 10, 20),
    "digits": Task(shd, "{},small", 140, 50),
}
OF_PROTOCOL = ("hidden", "dropout", "tau_out", "train_tau_out", "aggregation")  # other fields of `model`: the neuron's
TITLES = {"ecg": "ECG", "bsd": "BSD, quick size", "digits": "spoken digits"}


def case_config(task: str, neuron: str) -> ConfigDict:
    """Return the config of a neuron, by the protocol of SE-adLIF, with as many parameters."""
    module, variant, channels, epochs = ALL_TASKS[task]
    config = module.get_config(variant.format("se_adlif")).unlock()
    most = count_parameters(config, channels)
    of_neuron = module.get_config(variant.format(neuron))
    config.model.update({name: value for name, value in of_neuron.model.items() if name not in OF_PROTOCOL})
    config.sweep.update({name: of_neuron.sweep[name] for name in of_neuron.sweep if name not in config.sweep})
    config.num_epochs = epochs
    if task != "bsd":
        config.data.dir = DIGITS_DIR.value or DATA_DIR.value if task == "digits" else DATA_DIR.value
    config.sweep.learning_rate = tuple(map(float, RATES.value))
    while count_parameters(config, channels) > most:
        config.model.hidden = (config.model.hidden[0] - 1,)
    while count_parameters(wider(config), channels) <= most:
        config = wider(config)
    return config


def wider(config: ConfigDict) -> ConfigDict:
    """Return the config with one neuron more."""
    config = config.copy_and_resolve_references().unlock()
    config.model.hidden = (config.model.hidden[0] + 1,)
    return config


def count_parameters(config: ConfigDict, channels: int) -> int:
    """Return the number of trained values of a config's network."""
    inputs = jnp.zeros((1, 1, channels))
    params = jax.eval_shape(build_network(config, channels).init, jax.random.key(0), inputs)["params"]
    return sum(math.prod(array.shape) for array in jax.tree.leaves(params))


def case_folder(task: str, neuron: str) -> Path:
    """Return the folder of the runs of a neuron."""
    return local_path(FOLDER.value, "--output_dir") / f"{task}-{neuron}"


def best_rate(members: Sequence[Mapping[str, Any]]) -> float:
    """Return the learning rate with the highest mean validation accuracy; a member that has diverged counts as 0."""
    by_rate: dict[float, list[float]] = {}
    for member in members:
        score = 0.0 if member["diverged"] else member["validation"]["accuracy"]
        by_rate.setdefault(member["varied"]["learning_rate"], []).append(score)
    return max(by_rate, key=lambda rate: float(np.mean(by_rate[rate])))


def costs(task: str, neuron: str, members: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return spikes, and thousands of effective operations, of a step of a test sample: the means over members."""
    spikes, operations = [], []
    networks = [load_run(case_folder(task, neuron), member["member"]) for member in members]
    inputs = networks[0].dataset().test.inputs
    for trained in networks:
        *hidden, _, total = measure_costs(trained.network, trained.variables, inputs)
        widths = [layer.features for layer in trained.network.layers]
        spikes.append(sum(w * (1 - (cost.activation_sparsity or 0)) for w, cost in zip(widths, hidden, strict=True)))
        operations.append((total.effective_acs + total.effective_macs) / inputs.shape[1] / 1e3)
    return {"spikes": float(np.mean(spikes)), "kilo_operations": float(np.mean(operations))}


def seconds_per_epoch(task: str, neuron: str) -> float:
    """Return the median over the epochs, for one member of those that were trained together; NaN without epochs."""
    by_member = MetricsLog(case_folder(task, neuron) / "metrics.csv").by_member()
    seconds = [row["seconds"] for row in next(iter(by_member.values()), [])]
    return float(np.median(seconds)) / len(by_member) if seconds else np.nan


def study() -> None:
    rows: list[dict[str, Any]] = []
    scores: list[np.ndarray] = []
    for task in TASKS.value:
        configs = {neuron: case_config(task, neuron) for neuron in selected(NEURONS)}
        results = train_all(configs, f"{task}-{{}}".format)
        for neuron, members in results.items():
            rate = best_rate(members)
            chosen = [member for member in members if member["varied"]["learning_rate"] == rate]
            finite = [member for member in chosen if not member["diverged"]]
            cost = costs(task, neuron, finite) if finite else {"spikes": np.nan, "kilo_operations": np.nan}
            rows.append(
                {
                    "task": task,
                    "neuron": neuron,
                    "neurons": configs[neuron].model.hidden[0],
                    "parameters": count_parameters(configs[neuron], ALL_TASKS[task].channels),
                    "learning_rate": rate,
                    "spikes_per_step": f"{cost['spikes']:.3g}",
                    "kilo_operations_per_step": f"{cost['kilo_operations']:.3g}",
                    "seconds_per_epoch": f"{seconds_per_epoch(task, neuron):.2g}",
                }
            )
            scores.append(100 * test_scores(chosen, "accuracy"))
        figure_path = save_table({name: [row[name] for row in rows] for name in rows[0]}, scores, "accuracy")
        save_picture(rows, scores, figure_path)


def save_picture(rows: Sequence[Mapping[str, Any]], scores: Sequence[np.ndarray], path: Path) -> None:
    """Draw accuracy against operations, a panel a task."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(tasks) + 1.4, 3.4), layout="constrained")
        for ax, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            for row, accuracy in zip(rows, scores, strict=True):
                if row["task"] == task and len(accuracy):
                    deviation = accuracy.std(ddof=1) if len(accuracy) > 1 else 0
                    operations, colour = float(row["kilo_operations_per_step"]), colours.COLOURS[row["neuron"]]
                    label = NEURONS[row["neuron"]]
                    ax.errorbar(operations, accuracy.mean(), deviation, fmt="o", color=colour, capsize=2, label=label)
            ax.set_xlim(left=0)
            ax.set_xlabel("thousand operations in a step")
            ax.set_title(TITLES[task])
        figure.axes[0].set_ylabel("test accuracy (%)")
        drawn = {
            label: handle for ax in figure.axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(drawn.values(), drawn.keys(), loc="outside right upper")
        figure.savefig(path, dpi=150)


if __name__ == "__main__":
    run(study)
