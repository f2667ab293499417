"""The function Tune runs in a worker: one trial of an experiment.

It imports torch within, so that the driver, which only names it, does not load it.
"""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_encoder.config import TrainConfig, from_mapping
from tune_encoder.errors import StorageError, TuneEncoderError
from tune_encoder.experiment import CHECKPOINT_NAME, Experiment

if TYPE_CHECKING:
    from tune_encoder.checkpoints import State
    from tune_encoder.trainer import Row, TrainState

WORST_LOSS = 1e9  # reported for a failure: finite, or Ray's percentiles would break
ROOMY_BYTES = 2**30  # several checkpoints of the largest encoder
_MEMORY_DISK = Path("/dev/shm")  # Tune copies a checkpoint from where it was written


def run_trial(config: dict[str, Any]) -> None:
    """Train the trial's config, reporting every epoch with its checkpoint to Tune.

    Our own errors end the trial with a reason instead of a crash, so that Tune neither retries
    them nor gives up the worker. Missing or damaged storage is no fault of the config: it ends the
    search, and the trial goes on at the next resume.
    """
    from ray import tune

    try:
        _train(config)
    except StorageError as error:
        tune.report({"val_loss": WORST_LOSS, "epoch": 0, "storage": str(error)})
    except TuneEncoderError as error:
        failure = f"{type(error).__name__}: {error}"
        tune.report({"val_loss": WORST_LOSS, "epoch": 0, "failure": failure})


def _train(config: dict[str, Any]) -> None:
    from tune_encoder.checkpoints import newest_valid
    from tune_encoder.data.pack import open_pack
    from tune_encoder.trainer import train

    experiment = Experiment(Path(config["experiment"]))
    settings = from_mapping(TrainConfig, config["settings"], f"trial {config['number']}")
    settings = dataclasses.replace(settings, num_threads=settings.num_threads or config["cpus"])
    _, checkpoint, problems = newest_valid(experiment.checkpoint_files(config["number"]))
    for problem in problems:
        print(problem)  # noqa: T201  (goes to the worker's log)
    data = open_pack(Path(config["pack"]))
    if checkpoint is not None:
        _report_unrecorded(checkpoint, config["recorded"])
    run_dir = experiment.trial_dir(config["number"])
    train(settings, data, run_dir, report_to_tune, checkpoint)


def _report_unrecorded(checkpoint: "State", recorded: int) -> None:
    """Report again what was saved but not recorded, because the driver died in between."""
    from ray import tune

    unrecorded = checkpoint["history"][recorded:]
    for row in unrecorded[:-1]:
        tune.report({"val_loss": row["val_loss"], "epoch": row["epoch"], "row": row})
    if unrecorded:
        _report_with_checkpoint(unrecorded[-1], checkpoint)


def report_to_tune(row: "Row", state: "TrainState") -> None:
    """Hand an epoch and its checkpoint to Tune; returns only if the trial goes on."""
    _report_with_checkpoint(row, state.state_dict())


def _report_with_checkpoint(row: "Row", content: "State") -> None:
    from ray import tune

    from tune_encoder.checkpoints import save_state

    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        sha256 = save_state(Path(folder) / CHECKPOINT_NAME, content)
        tune.report(
            {
                "val_loss": row["val_loss"],
                "epoch": row["epoch"],
                "row": {**row, "checkpoint_sha256": sha256},
            },
            checkpoint=tune.Checkpoint.from_directory(folder),
        )


def _scratch() -> str | None:
    """Where a checkpoint waits to be copied: in memory, unless that is small as in a container."""
    roomy = os.access(_MEMORY_DISK, os.W_OK) and (
        shutil.disk_usage(_MEMORY_DISK).free > ROOMY_BYTES
    )
    return str(_MEMORY_DISK) if roomy else None
