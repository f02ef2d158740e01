"""The cases of a study, each a sweep over seeds in a separate folder, and the table of their results."""

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.runs.files import write_table
from seadlif_jax.training import fit
from seadlif_jax.utils.paths import local_path
from seadlif_jax.utils.tables import table_lines
from studies.command import FOLDER

SELECTED = flags.DEFINE_list("neurons", None, "Neurons to train; all neurons of the study by default.")


def define_numbers(name: str, default: str, text: str) -> flags.FlagHolder[list[str]]:
    """Define a flag for distinct whole numbers, such as `0,1,2`."""
    holder = flags.DEFINE_list(name, default, text)
    flags.register_validator(
        holder,
        lambda values: all(value.isdecimal() for value in values) and len(set(map(int, values))) == len(values) > 0,
        "it must be distinct whole numbers, such as 0,1,2",
    )
    return holder


SEEDS = define_numbers("seeds", "0,1,2", "Seeds of every case.")
EPOCHS = flags.DEFINE_integer("num_epochs", None, "Number of epochs; overrides the config.", lower_bound=1)

Case = TypeVar("Case", bound=Hashable)


def selected(neurons: Mapping[str, str]) -> dict[str, str]:
    """Return the neurons selected by --neurons, with their names."""
    unknown = set(SELECTED.value or ()) - set(neurons)
    if unknown:
        sys.exit(f"error: --neurons: {unknown.pop()!r} is not one of {', '.join(neurons)}")
    return {neuron: name for neuron, name in neurons.items() if SELECTED.value is None or neuron in SELECTED.value}


def train_all(cases: Mapping[Case, ConfigDict], name: Callable[[Case], str]) -> dict[Case, list[dict[str, Any]]]:
    """Train every case with all seeds and return the results of its members. Finished cases are not repeated.

    Args:
      cases: config of each case.
      name: returns the name of a case's folder inside the study's folder.
    """
    folder, results = local_path(FOLDER.value, "--output_dir"), {}
    for number, (case, config) in enumerate(cases.items(), 1):
        print(f"{name(case)} ({number} of {len(cases)})", flush=True)
        with config.unlocked():
            config.sweep.seed = tuple(map(int, SEEDS.value))
            config.num_epochs = EPOCHS.value or config.num_epochs
        with errors_in_one_line(f"run the same command again to continue with {name(case)}"):
            results[case] = fit(config, folder / name(case))["members"]
    return results


def test_scores(members: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """Return the test metric of all members that have not diverged."""
    return np.array([member["test"][metric] for member in members if not member["diverged"]])


def save_table(columns: Mapping[str, Sequence[Any]], seed_scores: Sequence[np.ndarray], metric: str) -> Path:
    """Write results.csv to the study's folder, and return the path for the figure beside it.

    Args:
      columns: columns that identify a row, by name.
      seed_scores: for each row, the scores of the seeds that have not diverged.
      metric: name of the scores.
    """
    folder = local_path(FOLDER.value, "--output_dir")
    columns = {
        **columns,
        "seeds": [len(SEEDS.value)] * len(seed_scores),
        "diverged": [len(SEEDS.value) - len(scores) for scores in seed_scores],
        f"{metric}_mean": [f"{scores.mean():.4g}" if len(scores) else "" for scores in seed_scores],
        f"{metric}_std": [f"{scores.std(ddof=1):.2g}" if len(scores) > 1 else "" for scores in seed_scores],
    }
    write_table(folder / "results.csv", columns)
    print("\n".join(table_lines(columns)))
    print(f"table and figure: {folder / 'results.csv'}, {folder / 'figure.png'}")
    return folder / "figure.png"
