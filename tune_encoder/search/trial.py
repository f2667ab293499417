"""The function Tune runs in a worker: one trial of an experiment.

It imports torch within, so that the driver, which only names it, does not load it.
"""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_encoder.config import TrainConfig, from_mapping
from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment import CHECKPOINT_NAME, Experiment

if TYPE_CHECKING:
    from tune_encoder.trainer import Row, TrainState

WORST_LOSS = 1e9  # reported for a failure: finite, or Ray's percentiles would break
_MEMORY_DISK = Path("/dev/shm")  # Tune copies a checkpoint from where it was written


def run_trial(config: dict[str, Any]) -> None:
    """Train the trial's config, reporting every epoch with its checkpoint to Tune.

    Our own errors end the trial with a reason instead of a crash, so that Tune neither retries
    them nor gives up the worker.
    """
    from ray import tune

    try:
        _train(config)
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
    path, checkpoint, problems = newest_valid(experiment.checkpoint_files(config["number"]))
    for problem in problems:
        print(problem)  # noqa: T201  (goes to the worker's log)
    data = open_pack(Path(config["pack"]))
    if path is not None and checkpoint is not None:
        place = str(path.parent.relative_to(experiment.checkpoints))
        _report_unrecorded(checkpoint["history"], config["recorded"], place)
    run_dir = experiment.trial_dir(config["number"])
    train(settings, data, run_dir, report_to_tune, checkpoint)


def _report_unrecorded(history: "list[Row]", recorded: int, place: str) -> None:
    """Report again what was saved but not recorded, because the driver died in between."""
    from ray import tune

    for row in history[recorded:]:
        # Only the last row's checkpoint is known to exist: it is the one just loaded.
        kept = {"checkpoint": place} if row is history[-1] else {}
        tune.report({"val_loss": row["val_loss"], "epoch": row["epoch"], "row": {**row, **kept}})


def report_to_tune(row: "Row", state: "TrainState") -> None:
    """Hand an epoch and its checkpoint to Tune; returns only if the trial goes on."""
    from ray import tune

    from tune_encoder.checkpoints import save_state

    place = str(_MEMORY_DISK) if os.access(_MEMORY_DISK, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        sha256 = save_state(Path(folder) / CHECKPOINT_NAME, state.state_dict())
        tune.report(
            {
                "val_loss": row["val_loss"],
                "epoch": row["epoch"],
                "row": {**row, "checkpoint_sha256": sha256},
            },
            checkpoint=tune.Checkpoint.from_directory(folder),
        )
