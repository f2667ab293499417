"""Training one config on every fold of the data, side by side: one epoch of each, then the next.

Each fold is trained exactly as a run of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from tune_encoder.config import SettingValue, TrainConfig, to_mapping
from tune_encoder.data.fold_scores import FoldScale, fold_scales, mean_over_folds
from tune_encoder.data.folds import FoldedData
from tune_encoder.experiment.epoch_row import EpochRow, as_row, score_of, validation_scores
from tune_encoder.model.encoder import Encoder
from tune_encoder.training.checkpoints import State
from tune_encoder.training.epoch import train_epoch
from tune_encoder.training.logs import EVERY_SETTING, Logged
from tune_encoder.training.loop import explain_out_of_memory, prepare_device, run_epochs
from tune_encoder.training.reduced_styles import reduce_styles
from tune_encoder.training.state import RunState, TrainState, check_same_training, start_run

# What the folds of an epoch take or skip together; of all else a row has the mean.
_SUMMED = ("skipped_steps", "seconds", "step_seconds", "predict_seconds", "score_seconds")

Report = Callable[[EpochRow, "FoldedState"], None]


@dataclass
class FoldedState(RunState):
    """The states of K runs of one config, each on a fold."""

    config: TrainConfig
    data: dict[str, SettingValue]
    """The identity of the data and its folds."""
    folds: list[TrainState]
    history: list[EpochRow] = field(default_factory=list)
    """Rows over all folds; each fold has its own too."""

    @property
    def encoder(self) -> Encoder:
        """That of the first fold."""
        return self.folds[0].model

    def state_dict(self) -> State:
        return {
            "epoch": self.epoch,
            "config": to_mapping(self.config),
            "data": self.data,
            "folds": [fold.state_dict() for fold in self.folds],
            "history": self.history,
        }

    def load_state_dict(self, state: State) -> None:
        """Load a checkpoint to resume training.

        Raises:
            StorageError: if it was trained on other data or folds, or has another architecture.
        """
        check_same_training(state, self.data)
        for fold, saved in zip(self.folds, state["folds"], strict=True):
            fold.load_state_dict(saved)
        self.history = list(state["history"])


def train_folds(
    config: TrainConfig,
    data: FoldedData,
    run_dir: Path,
    report: Report,
    checkpoint: State | None = None,
    logged: Logged = EVERY_SETTING,
) -> FoldedState:
    """Train an encoder on each fold until their last epoch or early stopping.

    An epoch of all folds is one row, with the scores over all folds and their standard errors.

    Args:
        config: The settings of each run.
        data: The folds.
        run_dir: As in `training.loop.train`, like all that follow.
        report: Called after every epoch.
        checkpoint: The state to resume.
        logged: What is logged beside scores; the encoder measured is that of the first fold.

    Raises:
        TrainingDiverged, OutOfMemory: as in `training.loop.train`, of any fold.
    """
    device = prepare_device(config)
    saved: list[State | None] = [None] * len(data.folds)
    if checkpoint is not None:
        check_same_training(checkpoint, data.identity)
        saved = checkpoint["folds"]
    pairs = zip(data.folds, saved, strict=True)
    states = [start_run(config, fold, device, own) for fold, own in pairs]
    state = FoldedState(config, data.identity, states)
    if checkpoint is not None:
        state.load_state_dict(checkpoint)
    for fold, own_data in zip(state.folds, data.folds, strict=True):
        reduce_styles(fold, own_data.train)
    scales = fold_scales(data)

    def train_next() -> EpochRow:
        with explain_out_of_memory(config, device):
            for fold, own_data in zip(state.folds, data.folds, strict=True):
                fold.history.append(train_epoch(fold, own_data, device))
        return _row([fold.history[-1] for fold in state.folds], scales)

    parts = [(fold, own.val) for fold, own in zip(state.folds, data.folds, strict=True)]
    run_epochs(state, train_next, run_dir, lambda row: report(row, state), parts, logged)
    return state


def _row(rows: Sequence[EpochRow], scales: Sequence[FoldScale]) -> EpochRow:
    """The row of an epoch over all folds."""
    scores = mean_over_folds([validation_scores(row) for row in rows], scales)
    others = [name for name in rows[0] if name != "epoch" and not name.startswith("val_")]
    return as_row(
        {
            "epoch": rows[0]["epoch"],
            **{f"val_{name}": value for name, value in scores.items()},
            **{name: _over_folds(name, rows) for name in others},
        }
    )


def _over_folds(name: str, rows: Sequence[EpochRow]) -> float:
    values = [score_of(row, name) for row in rows]
    return sum(values) if name in _SUMMED else fmean(values)
