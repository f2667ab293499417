"""A probe: train a few configs of a space for an epoch, to estimate the cost of a search."""

import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tune_encoder.config import TrainConfig
from tune_encoder.data.crops import steps_per_epoch
from tune_encoder.data.folds import FoldedData
from tune_encoder.data.pack import PackedData
from tune_encoder.errors import TrainingDiverged
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.space import RandomSuggester, SearchSpace, sample_configs
from tune_encoder.training.checkpoints import State, save_state
from tune_encoder.training.folds import train_folds
from tune_encoder.training.loop import train
from tune_encoder.training.state import RunState

RANDOM_CONFIGS = 3  # in addition to the first: costs within a space differ by large factors
MAX_PROBE_S = 30.0  # after that time no further config is timed
SEED = 0


@dataclass(frozen=True)
class Timing:
    """The measured cost of one config on this machine and data."""

    seconds_per_epoch: float
    """Including saving its checkpoint."""
    checkpoint_bytes: int
    steps_per_epoch: int
    """Optimizer steps, which are as many on any machine; over folds those of all."""


def probe(space: SearchSpace, data: PackedData | FoldedData) -> Iterator[Timing]:
    """Time the config of a space's first trial, then a few random ones.

    Each trains alone for an epoch, with the CPU cores of a trial, in a temporary folder.

    Args:
        space: The search space.
        data: The pack made with its front-end settings, or its folds.

    Raises:
        TrainingDiverged, OutOfMemory: if the first config cannot be trained.
    """
    began = time.perf_counter()
    yield _time_config(space, first_config(space), data)
    for settings in sample_configs(space, RANDOM_CONFIGS, SEED):
        if time.perf_counter() - began > MAX_PROBE_S:
            return
        try:
            yield _time_config(space, space.config(settings), data)
        except TrainingDiverged:
            continue  # a search also counts it as failed and continues


def first_config(space: SearchSpace) -> TrainConfig:
    """Return the config of the first trial; settings that `start` does not give are random."""
    first = next(iter(space.first_configs()), {})
    return space.config(space.sample(RandomSuggester(SEED), first))


def _time_config(space: SearchSpace, config: TrainConfig, data: PackedData | FoldedData) -> Timing:
    cpus = min(space.resources.cpus, os.cpu_count() or 1)
    config = dataclasses.replace(config, num_threads=config.num_threads or cpus)
    with tempfile.TemporaryDirectory(prefix="tune_encoder_probe_") as folder:
        state = _train(config, data, Path(folder))
        file = Path(folder) / "checkpoint.pt"
        began = time.perf_counter()
        save_state(file, state.state_dict())
        saving = time.perf_counter() - began
        training = min(row["seconds"] for row in state.history)
        parts = data.folds if isinstance(data, FoldedData) else (data,)
        steps = sum(steps_per_epoch(part.train.lengths, config) for part in parts)
        return Timing(training + saving, file.stat().st_size, steps)


def _train(config: TrainConfig, data: PackedData | FoldedData, folder: Path) -> RunState:
    """Train one epoch, and if it was quick a second one, without the startup cost."""
    state = _train_epochs(dataclasses.replace(config, epochs=1), data, folder)
    if state.history[-1]["seconds"] > MAX_PROBE_S:
        return state
    twice = dataclasses.replace(config, epochs=2)
    return _train_epochs(twice, data, folder, state.state_dict())


def _train_epochs(
    config: TrainConfig,
    data: PackedData | FoldedData,
    folder: Path,
    checkpoint: State | None = None,
) -> RunState:
    if isinstance(data, FoldedData):
        return train_folds(config, data, folder, _ignore, checkpoint)
    return train(config, data, folder, _ignore, checkpoint)


def _ignore(row: EpochRow, state: RunState) -> None:
    """Ignore the report of an epoch."""
