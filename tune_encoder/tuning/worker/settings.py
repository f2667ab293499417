"""What the driver tells a trial's worker, through the config that Tune hands on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from tune_encoder.experiment.checkpoint_storage import Storage


@dataclass(frozen=True)
class WorkerSettings:
    """What the workers of all trials of a launch are told alike; pickled by Tune and by Ray."""

    experiment: Path
    """Its folder, absolute; a node need not see it where checkpoints have a storage."""
    storage: Storage | None
    """Where checkpoints are kept; None is the experiment's folder."""
    identity: str
    """Of the experiment: whose the storage has to be."""
    launch: str
    """Number of the launch, the first part of the names of its checkpoints."""
    pack: Path
    """Folder of the data's pack on the driver's node, absolute."""
    home: str
    """Ray's id of the driver's node."""
    cpus: int
    """CPU cores of a trial, shared by its processes."""
    processes: int
    """How many train a trial together."""
    searched: tuple[str, ...]
    """Names of the searched settings, which TensorBoard shows."""


class TrialConfig(TypedDict):
    """What Tune hands a worker for one trial, and the driver finds as the trial's config."""

    number: int
    """Of the trial, in the record."""
    settings: dict[str, Any]
    """Of its training."""
    n_recorded: int
    """Epochs that are in the record already."""
    worker: WorkerSettings
