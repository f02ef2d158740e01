"""Oscillation: forecast a spring-mass system half a second long, the second half from the network's own output.

    python train.py --config=configs/oscillation.py:quick    # 40 epochs: 2 to 4 minutes on two cores, MSE 0.02
    python train.py --config=configs/oscillation.py          # the paper's size: 200 epochs, 10 to 20 minutes, MSE 0.014

Generated data, nothing to download. The result is the MSE of the second half; that of predicting zero (0.48) is in
forecast_error.png and forecast_error.csv of the run's folder.

Variants: `se_adlif` (default), `ef_adlif`, `lif`, `lstm`, or another neuron, with the numbers that its source gives for
SHD; and `quick`. Joined by commas: `configs/oscillation.py:lif,quick`.
"""

from ml_collections import ConfigDict

from configs import variants
from seadlif_jax.config import base_config

CHOICES = {"neuron": (*variants.NEURONS, "lstm"), "size": ("full", "quick")}
PLATEAU = {"lif": (0.8, 8), "lstm": (0.4, 3)}  # factor, patience in epochs of the full size
FULL_EPOCHS, QUICK_EPOCHS = 200, 40


def get_config(variant: str = "") -> ConfigDict:
    choice = variants.parse(variant, CHOICES)
    neuron, quick = choice["neuron"], choice["size"] == "quick"
    is_lif, is_lstm = neuron == "lif", neuron == "lstm"

    config = base_config().unlock()
    config.task = "forecast"
    config.num_epochs = QUICK_EPOCHS if quick else FULL_EPOCHS
    config.batch_size = 256

    config.data.loader = "data.oscillation:load"
    config.data.num_masses = 4
    config.data.mass = (1.0, 1.0)  # kg, range that the system is drawn from by `data.seed`
    config.data.spring = (500, 10_000)  # N/m, whole numbers
    config.data.damping = (0.0, 0.0)  # kg/s, viscous damping of each mass
    config.data.initial_velocity = 0.0  # standard deviation; that of the initial displacements is 1
    config.data.num_samples = 4_096  # of all three splits
    config.data.num_steps = 200  # inputs; with the last target 201 points, 0.5 s
    config.data.step_ms = 1000 / 402
    config.data.ignore_first_steps = 0  # do not count in the loss
    config.data.validation = "held_out"  # 80 % train, 10 % validation, 10 % test

    config.model.neuron = neuron
    config.model.hidden = (100,) if is_lstm else (200,)
    config.model.tau_u = (1.0, 25.0) if is_lif else (5.0, 25.0)
    config.model.tau_w = (60.0, 300.0)
    config.model.q = 65.0 if neuron == "ef_adlif" else 228.0
    config.model.tau_out = (1.0, 20.0)
    config.model.train_tau_out = True
    config.model.dropout = 0.0
    config.model.surrogate.slope = 10.0 if is_lif else 5.0
    config.model.surrogate.c = 0.5 if is_lif else 0.4

    config.optimizer.learning_rate = 0.001 if is_lstm else 0.01
    factor, patience = PLATEAU.get(neuron, (0.5, 15))
    config.optimizer.plateau_factor = factor
    # In proportion to the epochs.
    config.optimizer.plateau_patience = round(patience * QUICK_EPOCHS / FULL_EPOCHS) if quick else patience
    variants.set_neuron_of_source(config, neuron, {})
    return config.lock()
