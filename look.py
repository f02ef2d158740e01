"""Pictures of what is inside the network of a run, finished or not.

    python look.py --workdir=DIR [--split=test] [--sample=0] [--config.data.dir=DIR]

Leaves in DIR/inside, or `--output_dir`

    sample.png        input, spikes, membrane potential, adaptation current and readout for one sample of the split;
                      of a network that forecasts, its forecast
    parameters.png    time constants and couplings of the neurons, before and after training (not of LSTMs)
    training.png      firing rates of the layers, and the norm of the gradient, over the epochs
    gradients.png     how much the loss depends on what reaches each layer in every step, on a batch of the split
"""

import functools
import sys
from collections.abc import Sequence

import numpy as np
from absl import app, flags

from seadlif_jax import plots
from seadlif_jax.analysis.gradients import gradient_norms
from seadlif_jax.analysis.trained_parameters import neuron_parameters
from seadlif_jax.cli import common as command_line
from seadlif_jax.cli.common import (
    define_moved,
    define_output_dir,
    errors_in_one_line,
    parse_flags,
    prepare_jax,
    protect_output,
)
from seadlif_jax.data.loading import SPLITS
from seadlif_jax.data.samples import Samples
from seadlif_jax.inference import open_run
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.utils.paths import workdir_path

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "Where the samples are from.")
SAMPLE = flags.DEFINE_integer("sample", 0, "The sample to look at.", lower_bound=0)
moved, output_dir = define_moved(), define_output_dir()
flags.adopt_module_key_flags(command_line)  # for --help


def check_flags() -> None:
    if WORKDIR.value is None:
        sys.exit("error: --workdir is missing; give the folder of a run of train.py")


def main(_: Sequence[str]) -> None:
    prepare_jax()
    with errors_in_one_line("nothing more was written"):
        run_folder = workdir_path(WORKDIR.value)
        trained, dataset = open_run(run_folder, moved())
        config, split = trained.config, getattr(dataset, SPLIT.value)
        if SAMPLE.value >= len(split.inputs):
            raise RunError(f"--sample={SAMPLE.value}: the {SPLIT.value} split has samples 0..{len(split.inputs) - 1}")
        folder = output_dir(run_folder / "inside")

        imported = RunFolder(run_folder, config).origin() is not None
        if not imported:  # it has no epochs, and parameters before training are not known
            plots.save_training(MetricsLog(run_folder / "metrics.csv").read(), folder / "training.png")
        parameters = neuron_parameters(trained, initial=not imported)
        if parameters:  # LSTMs have none
            plots.save_parameters(parameters, folder / "parameters.png")
        batch = Samples.of(split, 0, config.batch_size)
        norms = gradient_norms(trained, batch)
        counted = np.asarray(batch.block_index > 0).mean(axis=0)
        plots.save_gradients(norms, counted, config.data.step_ms, folder / "gradients.png")
        sample = Samples.of(split, SAMPLE.value, SAMPLE.value + 1)
        if trained.forecasts:
            plots.save_forecast(sample, trained.outputs(sample.inputs), config.data.step_ms, folder / "sample.png")
        else:
            outputs, states = trained.trace(sample.inputs)
            plots.save_raster(sample, outputs, states, config.model.aggregation, folder / "sample.png")
    print(f"pictures: {folder}/*.png")


if __name__ == "__main__":
    protect_output()
    app.run(main, flags_parser=functools.partial(parse_flags, check=check_flags))
