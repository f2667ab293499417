"""How an epoch gets from the training to Tune, with its checkpoint.

Imported only in workers: it loads torch.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from ray import tune
from torch import multiprocessing

from tune_encoder.checkpoints import State, save_state
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.experiment import CHECKPOINT_NAME
from tune_encoder.trainer import Group, Row, TrainState, pick_device, run_group, train

ROOMY_BYTES = 2**30  # several checkpoints of the largest encoder
_MEMORY_DISK = Path("/dev/shm")  # Tune copies a checkpoint from where it was written


def report_to_tune(row: Row, state: TrainState) -> None:
    """Hand an epoch and its checkpoint to Tune; returns only if the trial goes on."""
    report_with_checkpoint(row, state.state_dict())


def report_with_checkpoint(row: Row, content: State) -> None:
    """Hand Tune an epoch whose state is at hand; returns only if the trial goes on."""
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        sha256 = save_state(Path(folder) / CHECKPOINT_NAME, content)
        _report_saved(row, sha256, Path(folder))


def _report_saved(row: Row, sha256: str, folder: Path) -> None:
    report_row({**row, "checkpoint_sha256": sha256}, folder)


def report_row(row: Row, folder: Path | None = None) -> None:
    """Hand Tune an epoch; as text, since of every number Tune keeps three running means."""
    result = {"val_loss": row["val_loss"], "epoch": row["epoch"], "row": json.dumps(row)}
    checkpoint = None if folder is None else tune.Checkpoint.from_directory(folder)
    tune.report(result, checkpoint=checkpoint)


def _scratch() -> str | None:
    """Where a checkpoint waits to be copied: in memory, unless that is small as in a container."""
    roomy = os.access(_MEMORY_DISK, os.W_OK) and (
        shutil.disk_usage(_MEMORY_DISK).free > ROOMY_BYTES
    )
    return str(_MEMORY_DISK) if roomy else None


class Relay:
    """Carries epochs from the first of several processes to the worker, which Tune listens to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker, self._process = multiprocessing.get_context("spawn").Pipe()

    def send(self, row: Row, state: TrainState) -> None:
        """In the first process: hand an epoch over, and wait for the leave to go on."""
        sha256 = save_state(self._folder / CHECKPOINT_NAME, state.state_dict())
        self._process.send((row, sha256))
        self._process.recv()

    def pass_on(self) -> None:
        """In the worker: report the epoch that has come, if any; Tune may end the trial here."""
        if self._worker.poll():
            row, sha256 = self._worker.recv()
            _report_saved(row, sha256, self._folder)
            self._worker.send(None)


def train_together(
    processes: int,
    config: TrainConfig,
    pack: Path,
    run_dir: Path,
    checkpoint: State | None,
    shown: Collection[str],
) -> None:
    """Train a trial in several processes of this machine; see `trainer.train`.

    Ray Train would do the same, at 20 seconds a trial.
    """
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        relay = Relay(Path(folder))
        arguments = (config, pack, run_dir, checkpoint, shown, relay)
        run_group(processes, pick_device(config.device), _member, arguments, relay.pass_on)


def _member(
    group: Group,
    config: TrainConfig,
    pack: Path,
    run_dir: Path,
    checkpoint: State | None,
    shown: Collection[str],
    relay: Relay,
) -> None:
    train(config, open_pack(pack), run_dir, relay.send, checkpoint, group, shown)
