"""`python train.py ...` in a clone is `seadlif train ...`: see seadlif_jax/cli/train_command.py, or --help.

docs/architecture.md lists the calls from here to the equation of the neuron.

python train.py --config=configs/<task>.py[:variant] [--workdir=DIR] [--config.<field>=<value> ...]
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
    from seadlif_jax.cli import console

    console("train")
