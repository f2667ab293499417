"""Sends a search to Weights & Biases: a group of runs, one for the search and one for each trial.

The ID of a run follows from the search's, so a resumed search continues it. Without a network
(WANDB_MODE=offline) nobody can be asked what is there, so a small file beside the record says it.
"""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.system.damage import parse_json
from tune_encoder.system.files import atomic_write
from tune_encoder.tracking.tracked_search import TrackedSearch, metrics, stamp, state_of_files

if TYPE_CHECKING:
    from wandb import Run

_SENT = "wandb.json"  # in the folder of the search's trackers
_ID_LENGTH = 16  # letters of the search's ID; W&B allows 64 for all of a run's
_INIT_S = 20.0
_SEARCH = "search"  # key of the search's own run


class _Sent(NamedTuple):
    """What was sent of a run."""

    version: int = 1
    """Counted up if an epoch that was sent is trained again: W&B keeps what it has."""
    epoch: int = 0
    stamp: float = 0.0
    """That of the epoch."""
    state: str = ""


class WandbTracker:
    """The runs of one search in a project."""

    def __init__(self, project: str, folder: Path) -> None:
        self.name = f"Weights & Biases, project {project}"
        self._project = project
        self._entity, _, self._project_name = project.rpartition("/")
        self._path = folder / _SENT
        self._sent = _read(self._path, project)
        self._open: dict[str, Run] = {}

    @property
    def page(self) -> str:
        """The project that has the runs."""
        return f"the project {self._project} of Weights & Biases"

    def send(self, search: TrackedSearch) -> None:
        """Send what has not been sent yet.

        Raises:
            Exception: whatever the client raises.
        """
        for trial in search.trials:
            self._send_trial(search, trial)
        self._send_search(search)

    def close(self) -> None:
        """Finish the runs that are open, which waits until they are uploaded."""
        for key in [*self._open]:
            self._finish(key)

    def _send_trial(self, search: TrackedSearch, trial: TrialRecord) -> None:
        key, state = str(trial.number), search.state(trial)
        sent = self._sent.get(key, _Sent())
        if sent.epoch and _stamp_at(trial, sent.epoch) != sent.stamp:
            self._finish(key)
            sent = _Sent(sent.version + 1)
            self._sent[key] = sent
        rows = [row for row in trial.rows if row["epoch"] > sent.epoch]
        if rows or sent.state != state:
            run = self._run(search, key, sent, trial)
            for row in rows:
                if row["epoch"] >= run.starting_step:  # in a run that the server knows
                    run.log(metrics(row), step=row["epoch"])
            run.summary.update({"state": state, "reason": trial.reason})
            last: EpochRow = trial.rows[-1] if trial.rows else {"epoch": 0, "val_loss": 0.0}
            self._sent[key] = _Sent(sent.version, last["epoch"], stamp(last), state)
            if run.offline:
                self._write()
        if state != "running" and key in self._open:
            self._finish(key, failed=trial.state == "FAIL")

    def _send_search(self, search: TrackedSearch) -> None:
        sent = self._sent.get(_SEARCH, _Sent())
        tags = search.tags()
        bests = [best for best in search.best_so_far() if best.step > sent.epoch]
        state = " ".join([tags["state"], *map(state_of_files, search.files().values())])
        if not bests and sent.state == state:
            return
        run = self._run(search, _SEARCH, sent, None)
        for best in bests:
            if best.step >= run.starting_step:
                values = {f"best_{search.space.metric.name}": best.value, "trial": best.trial}
                run.log(values, step=best.step)
        run.summary.update(tags)
        step, recorded_at = (bests[-1].step, bests[-1].recorded_at) if bests else sent[1:3]
        self._sent[_SEARCH] = _Sent(sent.version, step, recorded_at, state)
        if run.offline:
            self._write()
        if not search.is_running:
            _log_files(run, search)
            self._finish(_SEARCH)

    def _run(
        self, search: TrackedSearch, key: str, sent: _Sent, trial: TrialRecord | None
    ) -> "Run":
        """Return the open run of a trial, or of the search."""
        if key not in self._open:
            import wandb

            identity = re.sub("[^A-Za-z0-9]", "-", search.identity)[:_ID_LENGTH]
            name = search.experiment.name
            config: dict[str, Any] = {**search.tags()}
            if trial is not None:
                config = {**search.trial_tags(trial), **trial.settings}
            self._open[key] = wandb.init(
                entity=self._entity or None,
                project=self._project_name,
                dir=os.environ.get("WANDB_DIR") or str(search.experiment.path),
                id=f"{identity}-{key}-{sent.version}",
                name=name if trial is None else f"{name} trial {key}",
                group=f"{name}-{identity[:6]}",
                job_type="search" if trial is None else "trial",
                config=config,
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    disable_git=True,
                    disable_code=True,
                    x_disable_stats=True,
                    x_disable_meta=True,
                    init_timeout=_INIT_S,
                ),
            )
        return self._open[key]

    def _finish(self, key: str, failed: bool = False) -> None:
        """End a run; only then is it known that the server has all of it."""
        if (run := self._open.pop(key, None)) is not None:
            run.finish(exit_code=int(failed))
            self._write()

    def _write(self) -> None:
        kept = {key: sent for key, sent in self._sent.items() if not self._is_uploading(key)}
        content = {"project": self._project, "runs": kept}
        atomic_write(self._path, json.dumps(content).encode())

    def _is_uploading(self, key: str) -> bool:
        return key in self._open and not self._open[key].offline


def _log_files(run: "Run", search: TrackedSearch) -> None:
    """Add what the search has left; equal files are not uploaded again."""
    import wandb

    for name, path in search.files().items():
        artifact = wandb.Artifact(f"{run.id}-{name}", type="model" if path.is_dir() else "file")
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _stamp_at(trial: TrialRecord, epoch: int) -> float | None:
    return next((stamp(row) for row in trial.rows if row["epoch"] == epoch), None)


def _read(path: Path, project: str) -> dict[str, _Sent]:
    """Read what was sent to a project; nothing if it was another one, or the file is damaged."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content["project"] != project:
            return {}
        return {str(key): _Sent(*values) for key, values in content["runs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
