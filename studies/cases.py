"""Training all cases of a study, each a sweep over seeds with a folder of its own, and the table of what they found."""

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.output import table_lines
from seadlif_jax.runs.folder import write_table
from seadlif_jax.training.fit import train_and_evaluate
from seadlif_jax.utils.paths import local_path
from studies.command import FOLDER

CHOSEN = flags.DEFINE_list("neurons", None, "Neurons, if not all that the study compares.")


def define_numbers(name: str, default: str, text: str) -> flags.FlagHolder[list[str]]:
    """A flag of different whole numbers, such as `0,1,2`."""
    holder = flags.DEFINE_list(name, default, text)
    flags.register_validator(
        holder,
        lambda values: all(value.isdecimal() for value in values) and len(set(map(int, values))) == len(values) > 0,
        "it must be different whole numbers, such as 0,1,2",
    )
    return holder


SEEDS = define_numbers("seeds", "0,1,2", "The seeds of every case.")
EPOCHS = flags.DEFINE_integer("num_epochs", None, "Epochs, if others than the config's.", lower_bound=1)

Case = TypeVar("Case", bound=Hashable)


def chosen(neurons: Mapping[str, str]) -> dict[str, str]:
    """Those of a study's neurons that were asked for, and their names."""
    unknown = set(CHOSEN.value or ()) - set(neurons)
    if unknown:
        sys.exit(f"error: --neurons: {unknown.pop()!r} is none of {', '.join(neurons)}")
    return {neuron: name for neuron, name in neurons.items() if CHOSEN.value is None or neuron in CHOSEN.value}


def train_all(cases: Mapping[Case, ConfigDict], name: Callable[[Case], str]) -> dict[Case, list[dict[str, Any]]]:
    """Trains every case with all seeds; returns the results of its members. Cases that are finished are not run again.

    Args:
      cases: a config for each.
      name: the name of a case's folder in the study's.
    """
    folder, results = local_path(FOLDER.value, "--output_dir"), {}
    for number, (case, config) in enumerate(cases.items(), 1):
        print(f"{name(case)} ({number} of {len(cases)})", flush=True)
        with config.unlocked():
            config.sweep.seed = tuple(map(int, SEEDS.value))
            config.num_epochs = EPOCHS.value or config.num_epochs
        with errors_in_one_line(f"the same command goes on with {name(case)}"):
            results[case] = train_and_evaluate(config, folder / name(case))["members"]
    return results


def scores(members: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """The test metric of all members that have not diverged."""
    return np.array([member["test"][metric] for member in members if not member["diverged"]])


def save_table(columns: Mapping[str, Sequence[Any]], found: Sequence[np.ndarray], metric: str) -> Path:
    """Leaves results.csv in the study's folder, and returns the path of the figure next to it.

    Args:
      columns: what a row is of.
      found: for every row the scores of the seeds that have not diverged.
      metric: their name.
    """
    folder = local_path(FOLDER.value, "--output_dir")
    columns = {
        **columns,
        "seeds": [len(SEEDS.value)] * len(found),
        "diverged": [len(SEEDS.value) - len(scores) for scores in found],
        f"{metric}_mean": [f"{scores.mean():.4g}" if len(scores) else "" for scores in found],
        f"{metric}_std": [f"{scores.std(ddof=1):.2g}" if len(scores) > 1 else "" for scores in found],
    }
    write_table(folder / "results.csv", columns)
    print("\n".join(table_lines(columns)))
    print(f"table and figure: {folder / 'results.csv'}, {folder / 'figure.png'}")
    return folder / "figure.png"
