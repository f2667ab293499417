"""Reporting epochs and their checkpoints from training to Tune.

Imported only in workers, since it imports torch.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from ray import tune
from torch import multiprocessing

from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import CHECKPOINT_NAME
from tune_encoder.model.device import pick_device
from tune_encoder.training.checkpoints import State, save_state
from tune_encoder.training.logs import Logged
from tune_encoder.training.loop import train
from tune_encoder.training.parallel import ProcessGroup, run_processes
from tune_encoder.training.state import RunState, TrainState
from tune_encoder.tuning.worker.actor import show_epoch
from tune_encoder.tuning.worker.file_sync import FILES
from tune_encoder.tuning.worker.settings import TrialConfig
from tune_encoder.tuning.worker.trial_files import TrialFiles

MIN_FREE_BYTES = 2**30  # room for several checkpoints of the largest encoder
_SHARED_MEMORY = Path("/dev/shm")  # Tune copies a checkpoint from where it was written


class Reporter:
    """Reports the epochs of one trial to Tune; each call returns only if the trial continues."""

    def __init__(self, files: TrialFiles, config: TrialConfig) -> None:
        self._files = files
        self._config = config

    def epoch(self, row: EpochRow, state: RunState) -> None:
        """Report an epoch and its checkpoint."""
        self.state(row, state.state_dict())

    def state(self, row: EpochRow, content: State) -> None:
        """Report an epoch whose state is given."""
        with tempfile.TemporaryDirectory(dir=_scratch_folder()) as folder:
            sha256 = save_state(Path(folder) / CHECKPOINT_NAME, content)
            self.saved(row, sha256, Path(folder))

    def saved(self, row: EpochRow, sha256: str, folder: Path) -> None:
        """Report an epoch whose checkpoint has been written to a folder.

        Raises:
            StorageError: if the checkpoint cannot be stored.
        """
        self.row(*self._files.save_checkpoint({**row, "checkpoint_sha256": sha256}, folder))

    def row(self, row: EpochRow, folder: Path | None = None) -> None:
        """Report a row; as text, since Tune keeps three running means of every number."""
        result = {
            "val_loss": row["val_loss"],
            "epoch": row["epoch"],
            "row": json.dumps(row),
            FILES: self._files.file_delta(),
        }
        checkpoint = None if folder is None else tune.Checkpoint.from_directory(folder)
        tune.report(result, checkpoint=checkpoint)
        if not row["finished"]:
            show_epoch(self._config, row["epoch"] + 1)


def _scratch_folder() -> str | None:
    """Return a folder for temporary checkpoints: in shared memory, unless that is too small."""
    roomy = os.access(_SHARED_MEMORY, os.W_OK) and (
        shutil.disk_usage(_SHARED_MEMORY).free > MIN_FREE_BYTES
    )
    return str(_SHARED_MEMORY) if roomy else None


class EpochPipe:
    """Sends epochs from the first of several training processes to the worker, for reporting."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker, self._process = multiprocessing.get_context("spawn").Pipe()

    def send(self, row: EpochRow, state: TrainState) -> None:
        """In the first process: send an epoch, and wait for permission to continue."""
        sha256 = save_state(self._folder / CHECKPOINT_NAME, state.state_dict())
        self._process.send((row, sha256))
        self._process.recv()

    def forward(self, reporter: Reporter) -> None:
        """In the worker: report an epoch that was received, if any; Tune may end the trial here."""
        if self._worker.poll():
            row, sha256 = self._worker.recv()
            reporter.saved(row, sha256, self._folder)
            self._worker.send(None)


def train_distributed(
    processes: int,
    config: TrainConfig,
    pack: Path,
    run_dir: Path,
    checkpoint: State | None,
    logged: Logged,
    reporter: Reporter,
) -> None:
    """Train a trial in several processes on this machine; see `training.loop.train`.

    Ray Train would do the same, but takes 20 seconds to start each trial.
    """
    with tempfile.TemporaryDirectory(dir=_scratch_folder()) as folder:
        pipe = EpochPipe(Path(folder))
        arguments = (config, pack, run_dir, checkpoint, logged, pipe)
        device = pick_device(config.device)
        run_processes(processes, device, _train_process, arguments, lambda: pipe.forward(reporter))


def _train_process(
    group: ProcessGroup,
    config: TrainConfig,
    pack: Path,
    run_dir: Path,
    checkpoint: State | None,
    logged: Logged,
    pipe: EpochPipe,
) -> None:
    train(config, open_pack(pack), run_dir, pipe.send, checkpoint, group, logged)
