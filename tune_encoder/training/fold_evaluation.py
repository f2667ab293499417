"""Evaluation of a model's config over folds of voices: how well it clones voices it never heard."""

import dataclasses
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tune_encoder.config import TrainConfig
from tune_encoder.data.fold_scores import baselines_over_folds
from tune_encoder.data.folds import FoldedData, make_folds
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.epoch_row import EpochRow, validation_scores
from tune_encoder.model.folder import METRICS, read_model_config
from tune_encoder.system.damage import parse_json
from tune_encoder.system.files import atomic_write
from tune_encoder.training.folds import FoldedState, train_folds
from tune_encoder.training.loop import ending_at

OnEpoch = Callable[[EpochRow, int], None]
"""Called after every epoch with its row and the last epoch."""


@dataclass(frozen=True)
class FoldEvaluation:
    """Scores of a config over folds."""

    folds: int
    epochs: int
    """Epochs of each encoder, as many as the model has."""
    scores: dict[str, dict[str, float]]
    """Of each baseline and of `model`, with standard errors over folds such as `skill_se`."""


def evaluate_over_folds(
    model_dir: Path, data_dir: Path | None, folds: int, on_epoch: OnEpoch
) -> FoldEvaluation:
    """Train a model's config on each fold of its data, and score it on the voices left out.

    Args:
        model_dir: An exported model.
        data_dir: The data set; by default that of the model's config.
        folds: From 2 to the number of voices of train and val.
        on_epoch: Called after every epoch of all folds.

    Raises:
        ConfigError: if the number is below 2.
        StorageError: if the model cannot be read.
        DataError: if the data is invalid, or has too few voices.
    """
    if folds < 2:
        raise ConfigError(f"folds is {folds}; it must be from 2 to the number of voices")
    config = read_model_config(model_dir)
    data = make_folds(open_pack(pack_data(data_dir or Path(config.data_dir), config)), folds)
    last = _epoch_of(model_dir, config)
    config = dataclasses.replace(config, use_tensorboard=False, early_stopping_patience=0)
    with tempfile.TemporaryDirectory(prefix="tune_encoder_folds_") as folder:
        row = _train(config, data, Path(folder), last, on_epoch)
    scores = {**baselines_over_folds(data), "model": validation_scores(row)}
    return FoldEvaluation(folds, last, scores)


def _train(
    config: TrainConfig, data: FoldedData, folder: Path, last: int, on_epoch: OnEpoch
) -> EpochRow:
    """Train up to an epoch, and return its row."""

    def report(row: EpochRow, state: FoldedState) -> None:
        rows.append(row)
        on_epoch(row, last)
        check(row)

    rows: list[EpochRow] = []
    with ending_at(last) as check:
        train_folds(config, data, folder, report)
    return rows[-1]


def _epoch_of(model_dir: Path, config: TrainConfig) -> int:
    """The epoch of the model, or the last of its config if that is not known."""
    file = model_dir / METRICS
    return int(parse_json(file.read_text())["epoch"]) if file.is_file() else config.epochs


def write_fold_evaluation(evaluation: FoldEvaluation, folder: Path) -> Path:
    """Write `evaluation_folds.json` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "evaluation_folds.json"
    atomic_write(path, json.dumps(dataclasses.asdict(evaluation), indent=2).encode())
    return path
