"""Tests the network of a finished run under shifts of its input: events that were not there in training.

    python evaluate.py --workdir=DIR [--shifts=0,0.02,0.05,0.1,0.2,0.4] [--draws=3] [--config.data.dir=DIR]

Prints a table and leaves it in the run's folder as robustness.csv, with a picture, robustness.png. A shift is given as
the mean number of events it adds to every channel at every step; 0, the run's own test, is always there.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from command_line import errors_in_one_line, keep_compiled_programs, parse_flags
from seadlif_jax import plots
from seadlif_jax.robustness import Row, columns, measure_robustness
from seadlif_jax.run import write_table

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the finished run.")
SHIFTS = flags.DEFINE_list(
    "shifts", ["0", "0.02", "0.05", "0.1", "0.2", "0.4"], "Mean added events per channel and step."
)
DRAWS = flags.DEFINE_integer("draws", 3, "How often random shifts are drawn.")
MOVED = {  # named as in train.py, as in the errors of loaders
    field: flags.DEFINE_string(f"config.data.{field}", None, f"{meaning}, if another than the run's.")
    for field, meaning in (("dir", "Folder of the data files"), ("cache_dir", "Folder of the binned events"))
}


def check_flags() -> None:
    if WORKDIR.value is None:
        sys.exit("error: --workdir is missing; give the folder of a finished run of train.py")
    levels()


def levels() -> list[float]:
    try:
        if not SHIFTS.value:
            raise ValueError
        return [float(text) for text in SHIFTS.value]
    except ValueError:
        sys.exit(f"error: --shifts={','.join(SHIFTS.value)}: it must be numbers joined by commas, such as 0,0.05,0.1")


def line(row: Row) -> str:
    std = "" if row.accuracy_std is None else f" +- {100 * row.accuracy_std:.2f}"
    return f"{row.shift:10}{row.level:<9g}{row.draws:<7}{f'{100 * row.accuracy:.2f}{std}':16}{row.loss:.4f}"


def main(_: Sequence[str]) -> None:
    keep_compiled_programs()
    folder = Path(WORKDIR.value).expanduser()
    with errors_in_one_line("nothing was written"):
        moved = {field: flag.value for field, flag in MOVED.items() if flag.value is not None}
        rows = measure_robustness(folder, levels(), DRAWS.value, moved)
        print(f"{'shift':10}{'level':9}{'draws':7}{'accuracy (%)':16}loss")
        print("\n".join(map(line, rows)))
        print(f"({rows[0].protocol})", flush=True)
        write_table(folder / "robustness.csv", columns(rows))
        plots.save_robustness(rows, folder / "robustness.png")
    print(f"table and picture: {folder / 'robustness.csv'}, {folder / 'robustness.png'}")


if __name__ == "__main__":
    app.run(main, flags_parser=functools.partial(parse_flags, check=check_flags))
