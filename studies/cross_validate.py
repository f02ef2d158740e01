"""Cross-validation of a config, or of the settings of its sweep, on the training samples alone.

    python -m studies.cross_validate --config=configs/ecg.py --output_dir=runs/ecg-folds [--folds=5]
        [--config.<field>=<value> ...] [--config.sweep.<name>=<values> ...]

The training samples, which the loader returns with `data.validation = "last"`, are divided at random into folds. For
each fold, a network is trained on the others up to the last epoch, and scored on the fold. No epoch is selected, so
that the scores estimate those of "last"; the test samples are not used. (The validation scores of the progress lines
are of samples that are trained on.) Use it to choose a recipe when samples are few: the mean over the folds is less
noisy than the score on one held-out part.

The loader, the neuron and the task of the config are looked for beside its file, as `seadlif train` does.

With --by_group, a fold holds all samples of some groups, such as speakers, which the loader's `groups(config)` names.

Writes results.csv (for every setting, mean and standard deviation over the folds, the number of networks that
diverged, and the score of each fold, a mean over the seeds that did not; accuracies in percent) and figure.png.
Continues when it is run again.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from matplotlib import rc_context
from matplotlib.figure import Figure
from ml_collections import ConfigDict, config_flags

from seadlif_jax.build import build_task
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.flags import ConfigFileParser, option
from seadlif_jax.cli.train_command import loader_folders
from seadlif_jax.config import normalize, validate
from seadlif_jax.data.dataset import LAST
from seadlif_jax.data.loader import find_loader, record_folders
from seadlif_jax.data.loading import load_dataset
from seadlif_jax.members import describe_setting
from seadlif_jax.plots import STYLE, label_of, scale_of
from seadlif_jax.runs.files import write_table
from seadlif_jax.tasks import Classification
from seadlif_jax.training import fit
from seadlif_jax.training.divergence import DivergenceError
from seadlif_jax.utils.modules import search_path
from seadlif_jax.utils.paths import local_path
from seadlif_jax.utils.progress import say
from seadlif_jax.utils.tables import table_lines
from studies.command import FOLDER, run
from studies.folds import draw_folds, fold_dataset, untrained_targets

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file FILE.py[:VARIANT].")
FOLDERS = loader_folders(option(sys.argv, "config") or "")
flags.FLAGS["config"].parser = ConfigFileParser(flags.FLAGS["config"].parser, sys.argv, FOLDERS)
FOLDS = flags.DEFINE_integer("folds", 5, "Number of folds.", lower_bound=2)
BY_GROUP = flags.DEFINE_bool("by_group", False, "Keep the samples of a group, such as a speaker, in one fold.")


class FoldScore(NamedTuple):
    """Mean score of a setting on a fold, over the seeds that have not diverged (NaN if none), and how many have."""

    mean: float
    diverged: int


def scores_by_setting(result: Mapping[str, Any], metric: str) -> dict[str, FoldScore]:
    """Return the score of each setting, from the result of a run or of a sweep."""
    if "summary" not in result:
        return {"": FoldScore(result["test"][metric], 0)}
    return {
        describe_setting(setting["setting"]): FoldScore(
            setting["test"][metric]["mean"] if setting["test"] else np.nan, setting["diverged"]
        )
        for setting in result["summary"]
    }


def study() -> None:
    if CONFIG.value is None:
        sys.exit("error: --config is missing; pass a config file, such as --config=configs/ecg.py")
    config, folder = ConfigDict(CONFIG.value.to_dict()), local_path(FOLDER.value, "--output_dir")
    config.data.validation = LAST
    with errors_in_one_line("run the same command again to continue"):
        config = normalize(config)
        validate(config)
        config = record_folders(config, FOLDERS)
        task = build_task(config)
        print(f"loading all training samples, with config.data.validation = {LAST!r}", flush=True)
        train = load_dataset(config).train
        count = len(train.inputs)
        groups = find_loader(config.data).groups(config, count) if BY_GROUP.value else np.arange(count)
        folds, scores = draw_folds(groups, FOLDS.value, config.data.seed), []
        for number, fold in enumerate(folds, 1):
            print(f"fold {number} of {len(folds)}: {len(fold)} samples", flush=True)
            dataset = fold_dataset(train, fold, number, len(folds))
            for target in untrained_targets(dataset) if isinstance(task, Classification) else ():
                say(f"warning: class {target} is in this fold, but not in the samples to train on")
            try:
                result = fit(config, folder / f"fold-{number}", dataset)
            except DivergenceError as error:  # of a config without a sweep
                print(f"fold {number}: {error}", flush=True)
                scores.append({"": FoldScore(np.nan, 1)})
            else:
                scores.append(scores_by_setting(result, task.metric))
    settings, scale = list(scores[0]), scale_of(task.metric)
    by_setting = {setting: scale * np.array([of_fold[setting].mean for of_fold in scores]) for setting in settings}
    columns: dict[str, list[Any]] = {
        "setting": [setting or "all" for setting in by_setting],
        f"{task.metric}_mean": [f"{values.mean():.4g}" for values in by_setting.values()],
        "std_of_folds": [f"{values.std(ddof=1):.2g}" for values in by_setting.values()],
        "diverged": [sum(of_fold[setting].diverged for of_fold in scores) for setting in settings],
    }
    for number in range(len(folds)):
        columns[f"fold_{number + 1}"] = [f"{values[number]:.4g}" for values in by_setting.values()]
    write_table(folder / "results.csv", columns)
    print("\n".join(table_lines(columns)))
    save_picture(by_setting, task.metric)
    print(f"table and figure: {folder / 'results.csv'}, {folder / 'figure.png'}")


def save_picture(by_setting: Mapping[str, Sequence[float] | np.ndarray], metric: str) -> None:
    """Draw the score of every fold, and the mean, a line a setting."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.5, 1.2 + 0.32 * len(by_setting)), layout="constrained")
        ax = figure.subplots()
        for position, values in enumerate(by_setting.values()):
            (points,) = ax.plot(values, [position] * len(values), "o", alpha=0.5, markersize=4)
            ax.plot([np.mean(values)], [position], "|", color=points.get_color(), markersize=16, markeredgewidth=2)
        ax.set_yticks(range(len(by_setting)), [setting or "all" for setting in by_setting])
        ax.invert_yaxis()
        ax.set_xlabel(f"{label_of(metric)}, on the fold left out")
        figure.savefig(local_path(FOLDER.value, "--output_dir") / "figure.png", dpi=150)


if __name__ == "__main__":
    with search_path(FOLDERS):
        run(study)
