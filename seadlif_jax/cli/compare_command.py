"""List runs side by side: results, the settings in which they differ, and learning curves.

    seadlif compare runs/bsd-quick-seed0 runs/bsd-lif-quick-seed0 ... [--output_dir=DIR]

A sweep stands for all its members. Runs that are still training have curves, and no result yet. A folder without a run,
or with one that has no finished epoch, is skipped. Leaves comparison.csv and comparison.png in DIR, by default the
current folder.
"""

import sys
from collections.abc import Sequence

from seadlif_jax import plots
from seadlif_jax.analysis.comparison import comparison_table, read_runs
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.parsers import Parser, output_folder
from seadlif_jax.runs.files import write_table
from seadlif_jax.utils.paths import local_path
from seadlif_jax.utils.tables import table_lines


def main(arguments: Sequence[str]) -> None:
    """Run `seadlif compare`."""
    parser = Parser("compare", __doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folder of a run or a sweep")
    parser.add_argument("--output_dir", default=".", metavar="DIR", help="folder for the table and the picture")
    options = parser.parse_intermixed_args(arguments)
    if not options.runs:
        sys.exit("error: no run is given; pass folders of runs, such as runs/bsd-quick-seed0 runs/bsd-lif-quick-seed0")
    with errors_in_one_line("nothing was written"):
        runs = read_runs([local_path(folder, "run") for folder in options.runs], _report_skipped)
        table = comparison_table(runs)
        print("\n".join(table_lines(table)))
        folder = output_folder(options.output_dir, local_path(".", "--output_dir"))
        write_table(folder / "comparison.csv", table)
        plots.save_comparison(runs, folder / "comparison.png")
    print(f"table and picture: {folder / 'comparison.csv'}, {folder / 'comparison.png'}")


def _report_skipped(reason: str) -> None:
    print(f"skipped: {reason}", file=sys.stderr, flush=True)
