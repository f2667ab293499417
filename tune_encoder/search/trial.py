"""The function Tune runs in a worker: one trial of an experiment.

It imports torch within, so that the driver, which only names it, does not load it.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_encoder.config import TrainConfig, from_mapping, write_yaml
from tune_encoder.errors import OutOfMemory, StorageError, TuneEncoderError
from tune_encoder.experiment import Experiment
from tune_encoder.files import write_whole

if TYPE_CHECKING:
    from tune_encoder.checkpoints import State

WORST_LOSS = 1e9  # reported for a failure: finite, or Ray's percentiles would break


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
    except OutOfMemory:
        raise  # perhaps it was a neighbour's memory: Tune starts the trial again
    except TuneEncoderError as error:
        failure = f"{type(error).__name__}: {error}"
        tune.report({"val_loss": WORST_LOSS, "epoch": 0, "failure": failure})


def _train(config: dict[str, Any]) -> None:
    from tune_encoder.checkpoints import newest_valid
    from tune_encoder.data.pack import open_pack
    from tune_encoder.search.delivery import pack_here, refuse_unseen
    from tune_encoder.search.reporting import report_to_tune, train_together
    from tune_encoder.trainer import train

    experiment = Experiment(Path(config["experiment"]))
    refuse_unseen(experiment.path)
    pack = pack_here(Path(config["pack"]), config["home"])
    processes = config["processes"]
    _write_settings(experiment.trial_config(config["number"]), config["settings"])
    settings = from_mapping(TrainConfig, config["settings"], f"trial {config['number']}")
    threads = settings.num_threads or max(1, config["cpus"] // processes)
    settings = dataclasses.replace(settings, num_threads=threads)
    _, checkpoint, problems = newest_valid(experiment.checkpoint_files(config["number"]))
    for problem in problems:
        print(problem)  # noqa: T201  (goes to the worker's log)
    if checkpoint is not None:
        _report_unrecorded(checkpoint, config["recorded"])
    run_dir = experiment.trial_dir(config["number"])
    if processes > 1:
        train_together(processes, settings, pack, run_dir, checkpoint, config["searched"])
    else:
        data, shown = open_pack(pack), config["searched"]
        train(settings, data, run_dir, report_to_tune, checkpoint, shown=shown)


def _write_settings(path: Path, settings: dict[str, Any]) -> None:
    """Leave the settings beside the metrics: `repair` finds them there if the record is lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, write_yaml(settings).encode())


def _report_unrecorded(checkpoint: "State", recorded: int) -> None:
    """Report again what was saved but not recorded, because the driver died in between."""
    from tune_encoder.search.reporting import report_row, report_with_checkpoint

    unrecorded = checkpoint["history"][recorded:]
    for row in unrecorded[:-1]:
        report_row(row)
    if unrecorded:
        report_with_checkpoint(unrecorded[-1], checkpoint)
