"""Write a pretrained network of the library from the folder of a finished run.

    python -m studies.pretrained --name=ecg --workdir=RUN

writes seadlif_jax/pretrained/NAME.npz and NAME.json: arrays, config, and the model card, with the run's own results.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging

from seadlif_jax import pretrained
from seadlif_jax.config import MAY_MOVE
from seadlif_jax.inference import load_run
from seadlif_jax.utils.paths import workdir_path

NAME = flags.DEFINE_enum("name", None, pretrained.NAMES, "Network to write.", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the finished run.", required=True)
CARDS = {
    "bsd": {
        "task": "one of 10 classes of burst sequences of 10 channels and 200 steps, from its last 40 steps",
        "data": "generated (configs/bsd.py:quick): 4,000 sequences; no real recordings",
        "command": "python train.py --config=configs/bsd.py:quick",
        "licence": "that of this library",
    },
    "ecg": {
        "task": "one of 6 wave classes for each step of 4 channels, up and down crossings of two leads, in {-1, 0, 1}",
        "data": (
            "QT Database (PhysioNet, ODC-BY), in the code of Yin, Corradi & Bohte (2021; MIT): 618 recordings for "
            "training and 141 for the test, of 1,301 steps; steps without a label count as class 0"
        ),
        "command": "python train.py --config=configs/ecg.py --config.data.dir=DIR",
        "licence": "that of this library; the data are not part of it",
        "use": "research; not a medical device, and not tested on recordings of other origin",
    },
}


def main(_: Sequence[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    folder = workdir_path(WORKDIR.value)
    model, result = load_run(folder), json.loads((folder / "result.json").read_text())
    config = model.config.to_dict()
    for field in MAY_MOVE:
        section, name = field.split(".")
        if name in config[section]:
            config[section][name] = ""
    config["compute"]["engine"] = "auto"  # whatever there is where it is used
    card = {
        **CARDS[NAME.value],
        "protocol": result["protocol"],
        "selection": f"best epoch {result['best_epoch']} of {config['num_epochs']}; the test samples had no part in it",
        "seed": str(result["seed"]),
        "test accuracy": f"{result['test']['accuracy']:.4f}",
        "validation accuracy": f"{result['validation']['accuracy']:.4f}",
    }
    output = Path(str(pretrained.FOLDER)) / NAME.value
    arrays: dict[str, Any] = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(array, np.float32)
        for path, array in jax.tree.leaves_with_path(model.variables)
    }
    np.savez_compressed(output.with_suffix(".npz"), **arrays)
    text = json.dumps({"card": card, "config": config}, indent=2, sort_keys=True)
    output.with_suffix(".json").write_text(text + "\n")
    print(f"wrote {output}.npz and .json")


if __name__ == "__main__":
    app.run(main)
