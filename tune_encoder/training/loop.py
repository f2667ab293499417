"""The training loop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import PackedData
from tune_encoder.errors import OutOfMemory
from tune_encoder.experiment.epoch_row import EpochRow, as_row
from tune_encoder.model.device import pick_device
from tune_encoder.system.memory import keep_freed_memory
from tune_encoder.training.checkpoints import State
from tune_encoder.training.epoch import run_two_steps, train_epoch
from tune_encoder.training.logs import EVERY_SETTING, Logged, tensorboard_log, write_metrics
from tune_encoder.training.measures import measure_encoder
from tune_encoder.training.parallel import SINGLE_PROCESS, ProcessGroup
from tune_encoder.training.reduced_styles import reduce_styles
from tune_encoder.training.similarity import Part, newest_similarity
from tune_encoder.training.state import RunState, TrainState, is_finished, start_run

Report = Callable[[EpochRow, TrainState], None]
# As in a trial of one core, so a config gives the same weights in a search and by itself. Two
# threads on two idle cores are 1.3 times (hidden_dim 64) to 1.9 times (192) as fast; if another
# process uses one of the cores, they are 3 to 9 times slower than one, since they wait in a loop.
DEFAULT_THREADS = 1


def train(
    config: TrainConfig,
    data: PackedData,
    run_dir: Path,
    report: Report,
    checkpoint: State | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    logged: Logged = EVERY_SETTING,
) -> TrainState:
    """Train one encoder until its last epoch or early stopping.

    The process keeps the memory it uses for that; see `system.memory.keep_freed_memory`.

    Args:
        config: The run's settings.
        data: The pack made with the same front-end settings.
        run_dir: For `metrics.jsonl`, and `logs/` for TensorBoard if enabled.
        report: Called after every epoch, once its logs are written. It may save the state, and
            it may end the run by raising an error.
        checkpoint: The state of an earlier run to resume.
        group: The process group of distributed training; only the first process writes and reports.
        logged: What is logged beside losses and scores.

    Raises:
        TrainingDiverged: at the first epoch whose loss is NaN or infinite.
        OutOfMemory: if the device has too little memory for the settings.
    """
    device = prepare_device(config, group)
    state = start_run(config, data, device, checkpoint)
    if checkpoint is not None:
        state.load_state_dict(checkpoint)
    reduce_styles(state, data.train)
    state.module = group.wrap(state.module, device)
    run_epochs(
        state,
        lambda: _train_epoch(state, data, device, group),
        run_dir,
        lambda row: report(row, state),
        [(state, data.val)],
        logged,
        writes=group.is_first,
    )
    return state


def prepare_device(config: TrainConfig, group: ProcessGroup = SINGLE_PROCESS) -> torch.device:
    """Return the device to train on, and set up this process's memory and threads."""
    keep_freed_memory()
    torch.set_num_threads(_n_threads(config))
    return pick_device(config.device, group.rank)


def _n_threads(config: TrainConfig) -> int:
    return config.num_threads or DEFAULT_THREADS


def run_epochs(
    state: RunState,
    train_next: Callable[[], EpochRow],
    run_dir: Path,
    report: Callable[[EpochRow], None],
    parts: Sequence[Part],
    logged: Logged = EVERY_SETTING,
    *,
    writes: bool = True,
) -> None:
    """Train until the run is finished; see `train`.

    Args:
        state: The run.
        train_next: Trains its next epoch and returns the row.
        run_dir: As in `train`.
        report: Called with the row of every epoch.
        parts: Its encoders, one of each fold, with the clips that they are validated on.
        logged: As in `train`.
        writes: Whether this process writes and reports.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (
        tensorboard_log(run_dir / "logs", state, logged.hparams, writes) as log,
        threadpool_limits(_n_threads(state.config), "blas"),  # of numpy, which scores
    ):
        while not is_finished(state):
            row = as_row({**train_next(), **measure_encoder(state, logged.measures)})
            state.history.append(row)
            row["finished"] = is_finished(state)
            row.update(as_row(newest_similarity(state, parts, logged.listening)))
            if writes:
                write_metrics(run_dir / "metrics.jsonl", state.history)
                log(row)
                report(row)


class _LastEpoch(Exception):
    """The epoch at which training ends is trained."""


@contextmanager
def ending_at(epoch: int) -> Iterator[Callable[[EpochRow], None]]:
    """Yield a function for a run's report to call last with each row; it ends the run at an epoch.

    The learning rates stay those of the whole run.
    """

    def check(row: EpochRow) -> None:
        if row["epoch"] >= epoch:
            raise _LastEpoch

    with suppress(_LastEpoch):
        yield check


def train_two_steps(config: TrainConfig, *parts: PackedData) -> None:
    """Train two batches and validate, as `train` does, without writing anything.

    Args:
        config: The run's settings.
        parts: The data, or that of each fold, whose encoders are in memory together.

    Raises:
        OutOfMemory: if the device has too little memory for the settings.
    """
    device = pick_device(config.device)
    with explain_out_of_memory(config, device):
        states = [start_run(config, data, device) for data in parts]
        for state, data in zip(states, parts, strict=True):
            reduce_styles(state, data.train)
            run_two_steps(state, data, device)


def _train_epoch(
    state: TrainState, data: PackedData, device: torch.device, group: ProcessGroup
) -> EpochRow:
    with explain_out_of_memory(state.config, device):
        return train_epoch(state, data, device, group)


@contextmanager
def explain_out_of_memory(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Turn an out-of-memory error into one that names the settings to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{device} is out of memory; lower batch_size (now {config.batch_size}) or "
            f"crop_seconds (now {config.crop_seconds:g}), raise gradient_accumulation (now "
            f"{config.gradient_accumulation}), or set gradient_checkpointing: true"
        ) from error
