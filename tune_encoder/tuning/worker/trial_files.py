"""Where a trial's worker stores its files and finds its checkpoints.

Imported only in workers, since it imports torch.
"""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tune_encoder.experiment.checkpoint_storage import Storage, checkpoints_of_trial
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import CHECKPOINT_NAME, Experiment
from tune_encoder.system.files import remove_leftovers
from tune_encoder.training.checkpoints import State, newest_valid_checkpoint
from tune_encoder.tuning.worker.file_sync import FileDelta, FileSender
from tune_encoder.tuning.worker.pack_transfer import check_sees_experiment
from tune_encoder.tuning.worker.settings import WorkerSettings


class TrialFiles(Protocol):
    """Where one run of a trial stores its files."""

    run_dir: Path
    """Folder of metrics and logs."""

    def newest_checkpoint(self) -> tuple[State | None, list[str]]:
        """Return the trial's newest intact checkpoint, and the problems of newer ones.

        Raises:
            StorageError: if the storage cannot be read.
        """

    def save_checkpoint(self, row: EpochRow, folder: Path) -> tuple[EpochRow, Path | None]:
        """Store an epoch's checkpoint.

        Returns:
            The row, with the checkpoint's name if it was stored, else the folder for Tune to store.
        """

    def file_delta(self) -> FileDelta:
        """Return what has to be sent to the experiment's folder."""


class LocalTrialFiles:
    """Stores everything in the experiment's folder, to which Tune copies checkpoints."""

    def __init__(self, experiment: Experiment, number: int) -> None:
        check_sees_experiment(experiment.path)
        self.run_dir = experiment.trial_dir(number)
        self._experiment, self._number = experiment, number

    def newest_checkpoint(self) -> tuple[State | None, list[str]]:
        return newest_valid_checkpoint(self._experiment.checkpoint_files(self._number))[1:]

    def save_checkpoint(self, row: EpochRow, folder: Path) -> tuple[EpochRow, Path | None]:
        return row, folder

    def file_delta(self) -> FileDelta:
        return []


class StoredTrialFiles:
    """Stores checkpoints in the storage, and other files in a folder of this node until sent.

    Tune could upload checkpoints too, but it treats a failed upload as complete, and needs
    nine requests for a checkpoint instead of two.
    """

    def __init__(self, storage: Storage, launch: str, number: int, folder: Path) -> None:
        self.run_dir = folder / "run"
        self._fetched = folder / "fetched"
        self._storage, self._number = storage, number
        # A new name each time, since a run that was given up may still be writing.
        self._run = f"{launch}/{number:04d}_{secrets.token_hex(3)}"
        self._sender = FileSender(self.run_dir)

    def newest_checkpoint(self) -> tuple[State | None, list[str]]:
        problems: list[str] = []
        names = checkpoints_of_trial(self._storage.checkpoint_names(), self._number)
        for name in sorted(names, key=lambda name: name.split("/")[-1], reverse=True):
            self._storage.download(name, self._fetched)
            _, state, damaged = newest_valid_checkpoint([self._fetched / name / CHECKPOINT_NAME])
            problems += damaged
            if state is not None:
                return state, problems
        return None, problems

    def save_checkpoint(self, row: EpochRow, folder: Path) -> tuple[EpochRow, Path | None]:
        name = f"{self._run}/checkpoint_{row['epoch']:06d}"
        self._storage.upload(folder, name)
        return {**row, "checkpoint": name}, None

    def file_delta(self) -> FileDelta:
        return self._sender.next_delta()


@contextmanager
def open_trial_files(worker: WorkerSettings, number: int) -> Iterator[TrialFiles]:
    """Open the files of a trial, as its worker's config says.

    Raises:
        StorageError: if the storage now belongs to another search, or cannot be used.
    """
    if worker.storage is None:
        yield LocalTrialFiles(Experiment(worker.experiment), number)
        return
    worker.storage.check_owner(worker.identity)
    with _scratch_folder() as folder:
        yield StoredTrialFiles(worker.storage, worker.launch, number, Path(folder))


def _scratch_folder() -> "tempfile.TemporaryDirectory[str]":
    """Create a temporary folder on this node's disk, and remove those of killed processes.

    Part of its name is random, so nobody else can have created it.
    """
    shared = Path(tempfile.gettempdir()) / "tune_encoder_trial"
    remove_leftovers(shared)
    return tempfile.TemporaryDirectory(
        prefix=f".{shared.name}.{os.getpid()}.", suffix=".partial", dir=shared.parent
    )
