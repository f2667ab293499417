"""A single training run, outside a search, into a folder that `experiment.run` describes."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tune_encoder.config import READ_PATHS, TrainConfig, to_mapping, write_yaml
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.run import BEST, CONFIG, FINAL, HISTORY
from tune_encoder.model.device import pick_device
from tune_encoder.system.files import atomic_write
from tune_encoder.system.formats import quote_path
from tune_encoder.system.lock import lock_experiment
from tune_encoder.system.shortage import resumable
from tune_encoder.system.signals import interruptible
from tune_encoder.training.checkpoints import State, load_state, newest_valid_checkpoint, save_state
from tune_encoder.training.initial_model import pin_initial_model
from tune_encoder.training.loop import train
from tune_encoder.training.parallel import SINGLE_PROCESS, ProcessGroup, run_processes
from tune_encoder.training.state import TrainState

_PACKAGES = ("tune-encoder", "torch", "numpy")  # whose versions a result may depend on
OnEpoch = Callable[[TrainConfig, list[EpochRow]], None]


def prepare_run(config: TrainConfig) -> PackedData:
    """Validate, pack and memory-map the run's data."""
    return open_pack(pack_data(Path(config.data_dir), config))


def train_to_folder(
    config: TrainConfig, on_epoch: OnEpoch, checkpoint: State | None = None, processes: int = 1
) -> None:
    """Train into `config.checkpoint_dir`.

    Args:
        config: The settings, with `data_dir` set.
        on_epoch: Called after every epoch; with several processes it must be a module-level
            function.
        checkpoint: The state to resume, from `read_checkpoint`.
        processes: Number of data-parallel processes, each on its own GPU if there are GPUs.

    Raises:
        ConfigError: if the folder already holds a run that is not to be resumed, or the initial
            model has another network.
        StorageError: if another process is training into the folder, or the initial model cannot
            be used.
        Interrupted: on Ctrl-C or SIGTERM, with the last epoch saved.
    """
    # Paths in config.yaml are relative to its own folder, not to the current one.
    given = {name: path for name in READ_PATHS if (path := getattr(config, name))}
    absolute: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in given.items()}
    config = replace(config, **absolute)
    if checkpoint is None:
        config = pin_initial_model(config)
    folder = Path(config.checkpoint_dir)
    if checkpoint is None and (folder / FINAL).exists():
        raise ConfigError(
            f"{folder}: already holds a run; resume it with --resume {folder / FINAL}, or choose "
            "another --checkpoint-dir"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with lock_experiment(folder), stoppable(lambda: _how_to_resume(folder)):
        _prepare_folder(folder, config, checkpoint)
        if processes != 1:
            device = pick_device(config.device)
            run_processes(processes, device, _train, (config, on_epoch, checkpoint))
        else:
            _train(SINGLE_PROCESS, config, on_epoch, checkpoint)


def _prepare_folder(folder: Path, config: TrainConfig, checkpoint: State | None) -> None:
    """Write the settings, and remove the checkpoints of a longer run, which this one replaces."""
    for path in periodic_checkpoints(folder):
        if checkpoint is None or _epoch_of(path) > checkpoint["epoch"]:
            path.unlink()
    atomic_write(folder / CONFIG, write_yaml(to_mapping(config)).encode())


def _train(
    group: ProcessGroup, config: TrainConfig, on_epoch: OnEpoch, checkpoint: State | None
) -> None:
    folder = Path(config.checkpoint_dir)

    def report(row: EpochRow, state: TrainState) -> None:
        _save(folder, row, state)
        on_epoch(config, state.history)

    train(config, prepare_run(config), folder, report, checkpoint, group)


def _save(folder: Path, row: EpochRow, state: TrainState) -> None:
    content = {**state.state_dict(), "versions": {name: version(name) for name in _PACKAGES}}
    if state.best is row or not (folder / BEST).exists():
        save_state(folder / BEST, content)
    if row["epoch"] % state.config.save_interval == 0:
        save_state(folder / f"checkpoint_epoch_{row['epoch']}.pt", content)
        for old in periodic_checkpoints(folder)[: -state.config.keep_checkpoints]:
            old.unlink()
    save_state(folder / FINAL, content)
    atomic_write(folder / HISTORY, json.dumps(state.history, indent=1).encode())


def periodic_checkpoints(folder: Path) -> list[Path]:
    """Return the periodic checkpoints, oldest first."""
    found = (path for path in folder.glob("checkpoint_epoch_*.pt") if path.stem[17:].isdigit())
    return sorted(found, key=_epoch_of)


def _epoch_of(path: Path) -> int:
    return int(path.stem[17:])


def read_checkpoint(path: Path) -> tuple[State, list[str]]:
    """Load a checkpoint to resume, or if it is damaged the next older one in its folder.

    Returns:
        The state, and messages about the choice.

    Raises:
        StorageError: if no checkpoint is valid.
    """
    try:
        return load_state(path), []
    except StorageError as error:
        found, state, _ = newest_valid_checkpoint(
            [each for each in checkpoints_of_run(path.parent) if each != path]
        )
        if found is None or state is None:
            raise
        note = f"{error}; resuming from {found.name}, after epoch {state['epoch']}"
        return state, [note]


def checkpoints_of_run(folder: Path) -> list[Path]:
    """Return all files of checkpoints that a run may have, the best last."""
    return [*periodic_checkpoints(folder), folder / FINAL, folder / BEST]


def _how_to_resume(folder: Path) -> str:
    final = folder / FINAL
    if not final.exists():
        return "stopped before the first epoch was finished; nothing was saved"
    command = f"tune-encoder train --resume {quote_path(final)}"
    return f"stopped, the last epoch is saved; resume with `{command}`"


@contextmanager
def stoppable(message: Callable[[], str]) -> Iterator[None]:
    """Say how to go on when a signal, or what the machine is short of, ends the block."""
    with interruptible(message), resumable(message):
        yield
