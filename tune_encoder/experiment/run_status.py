"""The status of runs by hand and of a search's retraining, as plain values for JSON."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import TypedDict

from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment.commands import export_run_line
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.run import FINAL, Run, list_runs
from tune_encoder.system.formats import count_noun, format_clock, quote_path
from tune_encoder.system.lock import Process, lock_process

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
RETRAIN = "retrain"  # folder of retrained seeds, in an experiment
_RECENT_EPOCHS = 10  # whose mean time tells how long the others will take


class RunEpoch(TypedDict):
    """An epoch of a run and its scores on the validation split."""

    epoch: int
    val_loss: float
    skill: float


class RunStatus(TypedDict):
    """The status of a run by hand, or of a retrained seed."""

    name: str
    path: str
    state: str
    """running, stopped or finished."""
    process: Process | None
    epochs: int
    """Number of finished epochs."""
    epochs_budget: int
    best: RunEpoch | None
    """The epoch with the lowest validation loss."""
    seconds_left: float | None
    """Estimate for a running one; early stopping may end it sooner."""
    command: str
    """The command that leads on: it resumes a stopped run, and exports another."""


def run_status(run: Run) -> RunStatus:
    """Return the status of a run by hand.

    Raises:
        ConfigError, StorageError: if its files are damaged.
    """
    return _status(run, lock_process(run.path))


def _status(run: Run, process: Process | None) -> RunStatus:
    rows, budget = run.rows(), run.config().epochs
    over = bool(rows) and (rows[-1].get("finished", False) or len(rows) >= budget)
    state = FINISHED if over else RUNNING if process else STOPPED
    final = run.path / FINAL
    resume = f"tune-encoder train --resume {quote_path(final)}"
    return {
        "name": run.name,
        "path": str(run.path),
        "state": state,
        "process": process,
        "epochs": len(rows),
        "epochs_budget": budget,
        "best": best_of_rows(rows),
        "seconds_left": seconds_left(rows, budget) if state == RUNNING else None,
        "command": resume if state == STOPPED and final.exists() else export_run_line(run.path),
    }


def best_of_rows(rows: Sequence[EpochRow]) -> RunEpoch | None:
    """Return the epoch with the lowest validation loss, if there is one."""
    best = min(rows, key=lambda row: row["val_loss"], default=None)
    if best is None:
        return None
    return {"epoch": best["epoch"], "val_loss": best["val_loss"], "skill": best["val_skill"]}


def seconds_left(rows: Sequence[EpochRow], budget: int) -> float | None:
    """Estimate the time until the last epoch, from the newest ones; None without any."""
    if not rows:
        return None
    return fmean(row["seconds"] for row in rows[-_RECENT_EPOCHS:]) * (budget - len(rows))


def run_statuses(root: Path) -> list[RunStatus]:
    """Return the status of each run directly in a root; one whose files are damaged is left out."""
    found = []
    for run in list_runs(root):
        try:
            found.append(run_status(run))
        except TuneEncoderError:
            continue
    return found


def retraining_statuses(experiment: Path) -> list[RunStatus]:
    """Return the status of each seed that `retrain` trains or has trained in an experiment.

    One whose files are damaged is left out.
    """
    found = []
    for config in sorted((experiment / RETRAIN).glob("*/*/config.yaml")):
        run = Run(config.parent)
        try:
            status = _status(run, lock_process(run.path.parent))
        except TuneEncoderError:
            continue
        found.append(RunStatus({**status, "name": f"{run.path.parent.name}/{run.name}"}))
    return found


def run_lines(status: RunStatus) -> Iterator[str]:
    """Describe a run: its state, its epochs, its best epoch, the command that leads on."""
    process = status["process"]
    where = f", pid {process['pid']} on {process['host']}" if process and process["pid"] else ""
    yield f"{status['name']}: a run by hand, {status['state']}{where}"
    yield f"epochs: {progress_words(status)}"
    if best := status["best"]:
        yield f"best:   {best_words(best)}"
    leads_on = "resume" if " --resume " in status["command"] else "export"
    yield f"\n{leads_on} it:  {status['command']}"


def retraining_line(status: RunStatus) -> str:
    """Describe a retrained seed in one line."""
    best = f", best {best_words(status['best'])}" if status["best"] else ""
    return f"retraining {status['name']}: {status['state']}, {progress_words(status)}{best}"


def progress_words(status: RunStatus) -> str:
    """Say how many epochs are finished, and how long the others will take at most."""
    left = status["seconds_left"]
    time = "" if left is None else f", {format_clock(left)} left"
    return f"{status['epochs']} of {count_noun(status['epochs_budget'], 'epoch')}{time}"


def best_words(best: RunEpoch) -> str:
    """Describe the best epoch."""
    return f"epoch {best['epoch']}, val loss {best['val_loss']:.4f}, skill {best['skill']:.3f}"
