"""Exported models from Python: score and verify them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.api.options import (
    check_choice,
    check_whole_number,
    expand_if_given,
    expand_path,
)
from tune_encoder.api.wording import for_python
from tune_encoder.experiment.commands import check_is_model

if TYPE_CHECKING:
    from tune_encoder.experiment.epoch_row import EpochRow
    from tune_encoder.export.verifying import Verification
    from tune_encoder.model.evaluate import Evaluation
    from tune_encoder.training.fold_evaluation import FoldEvaluation

_Path = str | Path
SPLITS_TO_SCORE = ("val", "test")


@for_python
def evaluate(
    model: _Path, data_dir: _Path | None = None, split: str = "test", out: _Path | None = None
) -> "Evaluation":
    """Score a model on held-out voices, beside the baselines.

    Example:
        >>> tune_encoder.evaluate("runs/mine/best", "voices").scores["model"]["skill"]
        0.41

    Args:
        model: Exported model folder.
        data_dir: The data set; by default the built-in demo voices.
        split: "val" or "test".
        out: Folder for the results as JSON, npz and figures; by default nothing is written.

    Returns:
        Scores of the model and each baseline, and the predicted and true styles, (N, 50, 256) and
        (N, 8, 16). A skill of 0 is predicting the mean voice, 1 is perfect.

    Raises:
        ConfigError: if there is no such split to score on.
        DataError: if the data cannot be used, or has no such split.
        StorageError: if the model cannot be loaded, or the results not be written.
    """
    from tune_encoder.data.demo import cached_demo
    from tune_encoder.model.evaluate import evaluate as score
    from tune_encoder.model.evaluate import write_evaluation

    check_choice(split, SPLITS_TO_SCORE, "split")
    folder = expand_path(model)
    check_scorable(folder)  # before the demo voices are made
    result = score(folder, cached_demo() if data_dir is None else expand_path(data_dir), split)
    if out is not None:
        write_evaluation(result, expand_path(out), split)
    return result


def check_scorable(model: Path) -> None:
    """Raise a `StorageError` unless the folder is a model with its weights."""
    from tune_encoder.model.folder import check_has_weights

    check_is_model(model)
    check_has_weights(model)


@for_python
def evaluate_folds(
    model: _Path,
    folds: int,
    data_dir: _Path | None = None,
    out: _Path | None = None,
    on_epoch: "Callable[[EpochRow, int], None] | None" = None,
) -> "FoldEvaluation":
    """Train a model's settings on folds of the voices, and score each on the voices left out.

    Args:
        model: Exported model folder.
        folds: Number of folds of the voices of train and val, at least 2.
        data_dir: The data set; by default that of the model's settings.
        out: Folder for the results as JSON; by default nothing is written.
        on_epoch: Called after every epoch of all folds with its row and the number of epochs.

    Returns:
        Mean scores of the model and each baseline over the folds, with standard errors.

    Raises:
        ConfigError: if the number of folds is below 2.
        DataError: if the data cannot be used, or has too few voices.
        StorageError: if the model cannot be read, or the results not be written.
    """
    from tune_encoder.training.fold_evaluation import evaluate_over_folds, write_fold_evaluation

    check_whole_number(folds, 2, "folds")
    data = expand_if_given(data_dir)
    result = evaluate_over_folds(expand_path(model), data, folds, on_epoch or _ignore)
    if out is not None:
        write_fold_evaluation(result, expand_path(out))
    return result


def _ignore(row: "EpochRow", last: int) -> None:
    """Do nothing after an epoch."""


@for_python
def verify(model: _Path, data_dir: _Path | None = None) -> "Verification":
    """Compare the files of a model with those of its export, and score it again.

    Example:
        >>> tune_encoder.verify("runs/mine/best").mismatches
        []

    Args:
        model: Exported model folder.
        data_dir: Its data; by default the folder of the model's settings.

    Returns:
        Numbers of files and scores that were compared, and a line for each that does not match.

    Raises:
        StorageError: if the folder is no model, or its record of the export cannot be read.
    """
    from tune_encoder.export.verifying import verify as compare

    folder = expand_path(model)
    check_is_model(folder)
    return compare(folder, expand_if_given(data_dir))
