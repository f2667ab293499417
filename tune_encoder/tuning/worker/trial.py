"""The function that Tune runs in a worker: one trial of an experiment.

torch is imported inside it, so that the driver, which only refers to it, does not import torch.
"""

import dataclasses
import json
from typing import TYPE_CHECKING

from tune_encoder.config import stored_config
from tune_encoder.errors import OutOfMemory, StorageError, TuneEncoderError
from tune_encoder.system.memory import collect_garbage_rarely
from tune_encoder.system.shortage import shortage
from tune_encoder.tuning.worker.settings import TrialConfig

if TYPE_CHECKING:
    from tune_encoder.training.checkpoints import State
    from tune_encoder.tuning.worker.reporting import Reporter

WORST_LOSS = 1e9  # reported for a failure; finite, since infinity breaks Ray's percentiles


def run_trial(config: TrialConfig) -> None:
    """Train the trial's config, reporting every epoch with its checkpoint to Tune.

    Our own errors end the trial with a reason instead of a crash, so that Tune neither retries the
    trial nor discards the worker. Missing or damaged storage, or a full disk, is not the config's
    fault: it ends the search, and the trial continues at the next resume.
    """
    from ray import tune

    collect_garbage_rarely()
    try:
        _train(config)
    except StorageError as error:
        tune.report({"val_loss": WORST_LOSS, "epoch": 0, "storage": str(error)})
    except OutOfMemory:
        raise  # perhaps another process used the memory, so Tune retries the trial
    except TuneEncoderError as error:
        failure = f"{type(error).__name__}: {error}"
        tune.report({"val_loss": WORST_LOSS, "epoch": 0, "failure": failure})
    except Exception as error:
        if not (problem := shortage(str(error))):
            raise
        tune.report({"val_loss": WORST_LOSS, "epoch": 0, "storage": problem})


def _train(config: TrialConfig) -> None:
    from tune_encoder.data.folds import open_folds
    from tune_encoder.data.pack import open_pack
    from tune_encoder.training.folds import train_folds
    from tune_encoder.training.logs import Logged
    from tune_encoder.training.loop import train
    from tune_encoder.tuning.worker.actor import show_epoch
    from tune_encoder.tuning.worker.pack_transfer import fetch_model, fetch_pack
    from tune_encoder.tuning.worker.reporting import Reporter, train_distributed
    from tune_encoder.tuning.worker.trial_files import open_trial_files

    worker = config["worker"]
    with open_trial_files(worker, config["number"]) as files:
        pack = fetch_pack(worker.pack, worker.home)
        settings = stored_config(json.loads(config["settings"]), f"trial {config['number']}")
        threads = settings.num_threads or max(1, worker.cpus // worker.processes)
        settings = dataclasses.replace(settings, num_threads=threads)
        checkpoint, problems = files.newest_checkpoint()
        for problem in problems:
            print(problem)  # noqa: T201  (goes to the worker's log)
        _report_older_checkpoint(config, checkpoint, problems)
        if checkpoint is None:
            settings = fetch_model(settings, worker.home)
        reporter = Reporter(files, config)
        show_epoch(config, 1 if checkpoint is None else checkpoint["epoch"] + 1)
        if checkpoint is not None:
            _report_unrecorded(reporter, checkpoint, config["n_recorded"])
        run_dir = files.run_dir
        logged = Logged(worker.searched, worker.measures, worker.listening)
        if worker.processes > 1:
            train_distributed(
                worker.processes, settings, pack, run_dir, checkpoint, logged, reporter
            )
        elif worker.folds > 1:
            folds = open_folds(pack, worker.folds)
            train_folds(settings, folds, run_dir, reporter.epoch, checkpoint, logged)
        else:
            data = open_pack(pack)
            train(settings, data, run_dir, reporter.epoch, checkpoint, logged=logged)


def _report_older_checkpoint(
    config: TrialConfig, checkpoint: "State | None", problems: list[str]
) -> None:
    """Tell the driver if the trial has to continue from an older checkpoint than its newest."""
    from ray import tune

    epoch = 0 if checkpoint is None else checkpoint["epoch"]
    note = older_checkpoint_note(config["number"], config["n_recorded"], epoch, bool(problems))
    if note:
        tune.report({"val_loss": WORST_LOSS, "epoch": 0, "note": note})


def older_checkpoint_note(number: int, recorded: int, epoch: int, is_damaged: bool) -> str:
    """Say that a trial continues from an older checkpoint; empty if it has its newest.

    Args:
        number: The trial's number.
        recorded: How many of its epochs are recorded.
        epoch: The epoch of the checkpoint it continues from; 0: it has none.
        is_damaged: Whether there are newer ones, which are damaged.
    """
    if epoch >= recorded and not is_damaged:
        return ""
    what = "is damaged" if is_damaged else "is missing"
    then = f"it resumes from epoch {epoch}" if epoch else "it starts again"
    return f"trial {number}: the checkpoint of epoch {max(recorded, epoch + 1)} {what}; {then}"


def _report_unrecorded(reporter: "Reporter", checkpoint: "State", recorded: int) -> None:
    """Report epochs that were saved but not recorded because the driver died in between."""
    unrecorded = checkpoint["history"][recorded:]
    for row in unrecorded[:-1]:
        reporter.row(row)
    if unrecorded:
        reporter.state(unrecorded[-1], checkpoint)
