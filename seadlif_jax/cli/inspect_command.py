"""Draw the spikes, parameters and gradients of a run, finished or not.

    seadlif inspect --workdir=DIR [--split=test] [--sample=0] [--config.data.dir=DIR]

leaves in DIR/inspect, or --output_dir,

    sample.png        input, spikes, membrane potential, adaptation current and readout for one sample of the split;
                      for a network that forecasts, its forecast; for one that compresses sound, the spectrograms of
                      a sound and the restored one, and the spikes between them
    parameters.png    time constants and couplings of the neurons, before and after training (not of LSTMs)
    training.png      firing rates of the layers, and norm of the gradient, over the epochs
    gradients.png     gradient of the loss with respect to each layer's input in every step, on a batch of the split
"""

from collections.abc import Sequence

import numpy as np

from seadlif_jax import plots
from seadlif_jax.analysis.gradients import gradient_norms
from seadlif_jax.analysis.trained_parameters import neuron_parameters
from seadlif_jax.cli.environment import prepare_jax
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.parsers import Parser, add_run, moved_data, output_folder
from seadlif_jax.data.on_device.samples import Samples
from seadlif_jax.inference import open_run
from seadlif_jax.reports.inspection import save_sample
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.folder import RunFolder
from seadlif_jax.runs.metrics import MetricsLog
from seadlif_jax.utils.paths import workdir_path


def main(arguments: Sequence[str]) -> None:
    """Run `seadlif inspect`."""
    parser = Parser("inspect", __doc__)
    add_run(parser)
    parser.add_argument("--sample", type=int, default=0, help="number of the sample in the split (default: 0)")
    options = parser.parse_args(arguments)
    prepare_jax()
    with errors_in_one_line("the remaining pictures were not written"):
        workdir = workdir_path(options.workdir)
        trained, dataset = open_run(workdir, moved_data(options))
        config, split = trained.config, getattr(dataset, options.split)
        if not 0 <= options.sample < len(split.inputs):
            raise RunError(
                f"--sample={options.sample}: the {options.split} split has samples 0..{len(split.inputs) - 1}"
            )
        folder = output_folder(options.output_dir, workdir / "inspect")

        imported = RunFolder(workdir, config).origin() is not None
        if not imported:  # which has no epochs, and whose parameters before training are unknown
            plots.save_training(MetricsLog(workdir / "metrics.csv").read(), folder / "training.png")
        parameters = neuron_parameters(trained, initial=not imported)
        if parameters:  # LSTMs have none
            plots.save_parameters(parameters, folder / "parameters.png")
        batch = Samples.of(split, 0, config.batch_size)
        norms = gradient_norms(trained, batch)
        counted = np.asarray(batch.block_index > 0).mean(axis=0)
        plots.save_gradients(norms, counted, config.data.step_ms, folder / "gradients.png")
        sample = Samples.of(split, options.sample, options.sample + 1)
        save_sample(trained.task, trained, sample, folder / "sample.png")
    print(f"pictures: {folder}/*.png")
