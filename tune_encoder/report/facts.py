"""What the record says of a search, read once for the whole page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tune_encoder.config import SettingValue
from tune_encoder.experiment.epoch_row import EpochRow, objective
from tune_encoder.experiment.folder import Experiment, SearchFile
from tune_encoder.experiment.status import (
    FAILED,
    FIELDS,
    metric_value,
    trial_status,
)
from tune_encoder.experiment.trials import TrialRecord, rank_trials
from tune_encoder.experiment.views import RUNNING, ExperimentStatus, status
from tune_encoder.report.figure import Table, table
from tune_encoder.space import SearchSpace
from tune_encoder.system.formats import count_noun, format_short

MAX_DRAWN = 200  # trials of a figure that draws each; more would hide each other
_BEST_DRAWN = MAX_DRAWN // 2
_ROW_FIELDS = (
    *FIELDS, "val_skill_ttl", "val_skill_dp", "order", "worker", "recorded_at", "checkpoint"
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """A search as its record has it."""

    experiment: Experiment
    content: SearchFile
    """search.yaml."""
    space: SearchSpace
    trials: Sequence[TrialRecord]
    """Those that began."""
    status: ExperimentStatus
    """As of `look.status`."""

    @property
    def is_running(self) -> bool:
        """Whether a process runs the search."""
        return bool(self.status["state"] == RUNNING)

    @property
    def best(self) -> TrialRecord | None:
        """The trial of the best epoch of all, if there is any."""
        return next(iter(self.scored), None)

    @property
    def metric(self) -> str:
        """What trials are compared by."""
        return self.space.metric.name

    def value(self, row: EpochRow) -> float:
        """The metric of an epoch."""
        return metric_value(self.space, row)

    def searched(self, trial: TrialRecord) -> dict[str, SettingValue]:
        """What was searched of a trial's settings."""
        return self.space.searched_settings(trial.settings)

    def status_of(self, trial: TrialRecord) -> str:
        """How a trial stands, in a word or two."""
        return trial_status(trial, self.is_running)

    @cached_property  # every mark asks whether it is the best
    def scored(self) -> list[TrialRecord]:
        """The trials that gave a result, the best first."""
        return rank_trials(list(self.trials))


def read_facts(experiment: Experiment) -> Facts:
    """Read a search, which may be running.

    Raises:
        ConfigError, StorageError: if its files are damaged.
    """
    space = experiment.space()
    trials = experiment.trials((*_ROW_FIELDS, space.metric.name))
    began = [trial for trial in trials if trial.state != "WAITING"]
    return Facts(experiment, experiment.read_search(), space, began, status(experiment))


def sample_for_plot(trials: Sequence[TrialRecord]) -> tuple[list[TrialRecord], str]:
    """Choose which trials a figure draws, and say so if it is not all.

    The best half of what is drawn is the best of all; the rest lies evenly over all others by
    rank, those without a result last.

    Returns:
        The trials, the worst first so that the best are drawn above them, and what is to be said.
    """
    order = sorted(trials, key=_rank)
    if len(order) <= MAX_DRAWN:
        return order[::-1], ""
    best, rest = order[:_BEST_DRAWN], order[_BEST_DRAWN:]
    n = MAX_DRAWN - _BEST_DRAWN
    others = [rest[round(i * (len(rest) - 1) / (n - 1))] for i in range(n)]
    note = (
        f" Of {len(order)} trials {MAX_DRAWN} are drawn: the {_BEST_DRAWN} best, and {n} spread "
        "evenly over the ranks of all others."
    )
    return [*best, *others][::-1], note


def _rank(trial: TrialRecord) -> tuple[bool, float]:
    failed = trial.state == "FAIL" or trial.best is None
    return failed, objective(trial.best) if trial.best is not None else math.inf


def describe_trial(facts: Facts, trial: TrialRecord) -> str:
    """Say what a trial tried, how it ended and how good it was, in up to three lines."""
    why = f": {trial.reason}" if trial.reason else ""
    lines = [f"trial {trial.number}, {facts.status_of(trial)}{why}"]
    if (best := trial.best) is not None:
        score = f"{facts.metric} {facts.value(best):.4g}"
        lines.append(f"{score} at epoch {best['epoch']} of {count_noun(len(trial.rows), 'epoch')}")
    settings = (f"{name} {format_short(v)}" for name, v in facts.searched(trial).items())
    return "\n".join([*lines, ", ".join(settings)])


UNKNOWN = "no reason was recorded"


def failure_table(facts: Facts) -> Table | None:
    """Return each reason with its trials, the most frequent first; None if no trial failed."""
    by_reason: dict[str, list[int]] = {}
    for trial in facts.trials:
        if facts.status_of(trial) == FAILED:
            by_reason.setdefault(trial.reason or UNKNOWN, []).append(trial.number)
    if not by_reason:
        return None
    ordered = sorted(by_reason.items(), key=lambda entry: -len(entry[1]))
    rows = [[reason, len(numbers), ", ".join(map(str, numbers))] for reason, numbers in ordered]
    return table(["reason", "trials", "their numbers"], rows)
