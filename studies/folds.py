"""The folds of cross-validation: parts of the training samples, each left out once."""

import numpy as np

from seadlif_jax.data.dataset import DataError, Dataset, Split


def draw_folds(groups: np.ndarray, num_folds: int, seed: int) -> list[np.ndarray]:
    """Return the indices of the samples of each fold: whole groups, drawn at random, about as many in each fold.

    Raises:
      DataError: there are fewer groups than folds.
    """
    names = np.unique(groups)
    if len(names) < num_folds:
        raise DataError(f"--folds={num_folds}: there are only {len(names)} groups, or samples, to divide")
    parts = np.array_split(np.random.default_rng(seed).permutation(names), num_folds)
    return [np.flatnonzero(np.isin(groups, part)) for part in parts]


def fold_dataset(train: Split, fold: np.ndarray, number: int, num_folds: int) -> Dataset:
    """Return the training samples as a data set that is tested on one fold, and trained on the others.

    The fold does not influence training: the validation split, whose scores training reports, is as large a part of
    the samples that are trained on.
    """
    others = np.setdiff1d(np.arange(len(train.inputs)), fold)
    protocol = f"last epoch, tested on fold {number} of {num_folds} of the training samples, trained on the others"
    return Dataset(train.take(others), train.take(others[: len(fold)]), train.take(fold), protocol)


def untrained_targets(dataset: Dataset) -> list[int]:
    """Return the classes of the fold that no sample to train on has, as if a group were a class of its own."""
    return np.setdiff1d(dataset.test.targets, dataset.train.targets).tolist()
