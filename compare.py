"""Compares runs: a table of what they found, with their settings that differ, and their learning curves in one picture.

    python compare.py runs/bsd-quick-seed0 runs/bsd-lif-quick-seed0 ... [--output_dir=DIR]

A sweep stands for all its members. Runs that are still under way have curves already, and no result yet. A folder
without a run, or with one that has no epoch yet, is skipped. Leaves comparison.csv and comparison.png in DIR, by
default the current folder.
"""

import functools
import sys
from collections.abc import Sequence

from absl import app, flags

from seadlif_jax import plots
from seadlif_jax.analysis.comparison import comparison_table, read_runs
from seadlif_jax.cli.common import errors_in_one_line, lines, parse_flags, protect_output
from seadlif_jax.runs.files import write_table
from seadlif_jax.utils.paths import local_path

FOLDER = flags.DEFINE_string("output_dir", ".", "Folder for comparison.csv and comparison.png.")


def skipped(reason: str) -> None:
    print(f"skipped: {reason}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> None:
    if not arguments[1:]:
        sys.exit("error: give the folders of runs to compare, such as runs/bsd-quick-seed0 runs/bsd-lif-quick-seed0")
    with errors_in_one_line("nothing was written"):
        runs = read_runs([local_path(argument, "run") for argument in arguments[1:]], skipped)
        table = comparison_table(runs)
        print("\n".join(lines(table)))
        folder = local_path(FOLDER.value, "--output_dir")
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / "comparison.csv", table)
        plots.save_comparison(runs, folder / "comparison.png")
    print(f"table and picture: {folder / 'comparison.csv'}, {folder / 'comparison.png'}")


if __name__ == "__main__":
    protect_output()
    app.run(main, flags_parser=functools.partial(parse_flags, check=lambda: None, takes_arguments=True))
