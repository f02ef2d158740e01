"""The error for a field that does not exist, with the one that was meant."""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from seadlif_jax.config.checks import CHECKS
from seadlif_jax.config.fields import ConfigError

# Names that other programs have for fields, by the last part of the name.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("lr", "learningrate", "step_size", "eta"), "learning_rate"),
        **dict.fromkeys(("epochs", "n_epochs", "max_epochs", "epoch", "num_epoch"), "num_epochs"),
        **dict.fromkeys(("batch", "bs", "batchsize", "minibatch_size"), "batch_size"),
        **dict.fromkeys(
            ("n_hidden", "num_hidden", "hidden_size", "hidden_sizes", "hidden_dim", "n_neurons", "num_neurons"),
            "hidden",
        ),
        **dict.fromkeys(("units", "width", "widths", "layers", "n_layers", "num_layers"), "hidden"),
        **dict.fromkeys(("cell", "model_type", "neuron_type", "neuron_model"), "neuron"),
        **dict.fromkeys(("classes", "n_classes", "output_size"), "num_classes"),
        **dict.fromkeys(("drop", "p_drop", "dropout_rate", "dropout_p"), "dropout"),
        **dict.fromkeys(("grad_clip", "clip", "max_grad_norm", "gradient_clip", "gradient_clip_val"), "clip_norm"),
        **dict.fromkeys(("random_seed", "rng_seed", "seeds"), "seed"),
        **dict.fromkeys(("data_dir", "datadir", "data_path", "root", "path"), "dir"),
        **dict.fromkeys(("dataset", "loader_fn"), "loader"),
        **dict.fromkeys(("dt", "timestep", "step"), "step_ms"),
        **dict.fromkeys(("patience",), "plateau_patience"),
        **dict.fromkeys(("wd", "weightdecay", "l2"), "weight_decay"),
        **dict.fromkeys(("scheduler", "lr_schedule", "lr_scheduler"), "schedule"),
        **dict.fromkeys(("warmup", "warm_up"), "warmup_epochs"),
        **dict.fromkeys(("ema_decay", "polyak", "averaging"), "ema"),
        **dict.fromkeys(("smoothing",), "label_smoothing"),
        **dict.fromkeys(("gamma", "lr_decay"), "plateau_factor"),
        **dict.fromkeys(("alpha", "surrogate_slope"), "slope"),
        **dict.fromkeys(("loss_agg", "readout"), "aggregation"),
        **dict.fromkeys(("pretrained", "checkpoint_path", "ckpt", "resume_from", "load_from"), "init_from"),
    }
)


def unknown_field(name: str, known: Iterable[str] = ()) -> ConfigError:
    """Return the error for an unknown field, with a suggestion.

    Args:
      name: the field, or the last part of its name.
      known: fields that are known besides those of every config.
    """
    fields = list(dict.fromkeys((*CHECKS, *known)))
    section, _, last = name.rpartition(".")
    if name.startswith("sweep."):  # its fields are in no further section
        section = "sweep"
    fields.sort(key=lambda field: field.rpartition(".")[0] != section)  # those of the same section first
    fields.sort(key=lambda field: field.startswith("sweep.") and section != "sweep")
    by_last = {field.rpartition(".")[2]: field for field in reversed(fields)}
    word = last.lower()
    close = difflib.get_close_matches(name, fields, n=1, cutoff=0.8)
    close_last = difflib.get_close_matches(word, by_last, n=1, cutoff=0.7)
    meant = [by_last[one] for one in (word, SYNONYMS.get(word)) if one in by_last]
    if meant:  # model.width is model.hidden rather than devices.width
        field = next((one for one in meant if one.rpartition(".")[0] == section), meant[0])
    elif close or close_last:
        field = close[0] if close else by_last[close_last[0]]
    else:
        return ConfigError(f"config.{name}: unknown field")
    if section == "sweep" and not field.startswith("sweep."):
        return ConfigError(
            f"config.{name}: config.{field} cannot be swept; train a separate run for each of its values"
        )
    return ConfigError(f"config.{name}: unknown field; did you mean config.{field}?")
