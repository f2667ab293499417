"""A search as trackers get it: read from its record, in names and values that all of them have."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tune_encoder.experiment.epoch_row import EpochRow, keeps_constraints, objective
from tune_encoder.experiment.folder import Experiment, SearchFile
from tune_encoder.experiment.run import EXPORTED
from tune_encoder.experiment.status import is_over, trial_status
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import SearchSpace

STAMP = "recorded_at"  # the metric that says which training of an epoch was sent
_NOT_MEASURED = ("epoch", "order", "attempt")  # numbers of a row that no curve should show
_REPORT = "report.html"


class BestSoFar(NamedTuple):
    """An epoch that was better than all epochs recorded before it."""

    step: int
    """Epochs of the search that were recorded up to it."""
    recorded_at: float
    """In seconds since 1970."""
    trial: int
    value: float
    """Of the search's metric."""


@dataclass(frozen=True)
class TrackedSearch:
    """The state of a search at one moment."""

    experiment: Experiment
    content: SearchFile
    space: SearchSpace
    trials: list[TrialRecord]
    """Those that have begun, in order of their numbers."""
    is_running: bool
    has_results: bool
    """Whether its report and its model, if it has them, are those of this state."""

    @classmethod
    def read(
        cls, experiment: Experiment, *, is_running: bool, has_results: bool
    ) -> "TrackedSearch":
        """Read it from the experiment's folder.

        Raises:
            StorageError: if the folder is damaged.
        """
        trials = [trial for trial in experiment.trials() if trial.state != "WAITING"]
        content, space = experiment.read_search(), experiment.space()
        return cls(experiment, content, space, trials, is_running, has_results)

    @property
    def identity(self) -> str:
        """A text that no other search has, and that stays if the folder is moved."""
        return self.content.get("id") or f"{self.experiment.name}-{self.content['fingerprint']}"

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return is_over(self.space, self.trials)

    def state(self, trial: TrialRecord) -> str:
        """Return the state of a trial in a word or two."""
        return trial_status(trial, self.is_running)

    def tags(self) -> dict[str, str]:
        """Return what is said of the search: what it searches, on which data, within what."""
        space, budget = self.space, self.space.budget
        state = "running" if self.is_running else "finished" if self.is_over else "stopped"
        return {
            "state": state,
            **self._tags_of_all(),
            "seed": str(space.searcher.seed),
            "metric": space.metric.name,
            "searcher": space.searcher.name,
            "scheduler": space.scheduler.name,
            "budget.trials": str(budget.trials),
            "budget.epochs": str(budget.epochs),
            "budget.total_epochs": str(budget.total_epochs),
            "version": self.content["versions"].get("tune-encoder", ""),
        }

    def trial_tags(self, trial: TrialRecord) -> dict[str, str]:
        """Return what is said of a trial besides its settings and its epochs."""
        return {
            "state": self.state(trial),
            "trial": str(trial.number),
            "seed": str(trial.settings.get("seed", "")),
            "reason": trial.reason,
            **self._tags_of_all(),
        }

    def _tags_of_all(self) -> dict[str, str]:
        """Return what is said of the search and of each of its trials."""
        searched = ", ".join(parameter.name for parameter in self.space.parameters)
        return {"space": searched, "data": self.content["fingerprint"]}

    def best_so_far(self) -> Iterator[BestSoFar]:
        """Yield each epoch that was better than all before it, in order of recording."""
        found = [(int(row["order"]), trial, row) for trial in self.trials for row in trial.rows]
        best: EpochRow | None = None
        for order, trial, row in sorted(found, key=lambda each: each[0]):
            if trial.state == "FAIL" or not keeps_constraints(row):
                continue
            if best is None or objective(row) < objective(best):
                best, value = row, self.space.metric.sign * objective(row)
                yield BestSoFar(order + 1, stamp(row), trial.number, value)

    def files(self) -> dict[str, Path]:
        """Return what a search leaves, as far as it is there: the names and the paths."""
        if not self.has_results:
            return {}
        path = self.experiment.path
        found = {
            "search.yaml": path / "search.yaml",
            _REPORT: path / _REPORT,
            "model": path / EXPORTED,
        }
        return {name: each for name, each in found.items() if each.exists()}


def metrics(row: EpochRow) -> dict[str, float]:
    """Return what was measured in an epoch, and when that was recorded."""
    numbers = {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    measured = {name: each for name, each in numbers.items() if name not in _NOT_MEASURED}
    return {**measured, STAMP: stamp(row)}


def stamp(row: EpochRow) -> float:
    """Return when an epoch was recorded, which is another time if it was trained again.

    Rows of the oldest searches do not say it; then it is the order in which they were recorded.
    """
    return row.get("recorded_at", float(row.get("order", row["epoch"])))


def stamps(trial: TrialRecord) -> dict[int, float]:
    """Return the stamp of each epoch of a trial."""
    return {row["epoch"]: stamp(row) for row in trial.rows}


def begun_at(trial: TrialRecord) -> float | None:
    """Return when a trial began, in seconds since 1970, or None before its first epoch."""
    if not trial.rows:
        return None
    return max(0.0, stamp(trial.rows[0]) - trial.rows[0].get("seconds", 0.0))


def state_of_files(path: Path) -> str:
    """Return a text that changes when a file, or one in a folder, is written again."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
