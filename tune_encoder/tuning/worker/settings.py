"""What the driver sends to a trial's worker, in the config that Tune passes on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tune_encoder.experiment.checkpoint_storage import Storage
from tune_encoder.space.listening import Listening


@dataclass(frozen=True)
class WorkerSettings:
    """Settings that the workers of all trials of a launch share; pickled by Tune and by Ray."""

    experiment: Path
    """The experiment's absolute folder; nodes need not share it if checkpoints have a storage."""
    storage: Storage | None
    """Where checkpoints are stored; None: in the experiment's folder."""
    identity: str
    """Identity of the experiment, to which the storage must belong."""
    launch: str
    """Number of the launch, the first part of the names of its checkpoints."""
    pack: Path
    """Absolute folder of the data's pack on the driver's node."""
    home: str
    """Ray's id of the driver's node."""
    cpus: int
    """CPU cores of a trial, shared by its processes."""
    processes: int
    """Number of processes that train one trial."""
    folds: int
    """Number of folds of voices that a trial is trained on; 1: the train and val splits."""
    searched: tuple[str, ...]
    """Names of the settings that are searched in the trial, which TensorBoard shows."""
    measures: tuple[str, ...] = ()
    """Quantities of the encoder that rows have too; see `training.measures`."""
    steady_title: bool = False
    """Whether the title of a worker's process stays, or has the trial and the epoch."""
    listening: Listening | None = None
    """When `val_similarity` is measured, and how; None: rows do not have it."""


class TrialConfig(TypedDict):
    """The config of a trial in Tune, for its worker and for the driver."""

    number: int
    """Number of the trial in the record."""
    settings: str
    """Settings of its training in JSON: of a mapping Tune would keep five copies, a third of what a
    trial costs the driver."""
    n_recorded: int
    """Number of epochs that are already in the record."""
    worker: WorkerSettings
