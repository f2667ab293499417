"""The data of a search, read once for the whole page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tune_encoder.config import SettingValue
from tune_encoder.data.score_words import skill_name
from tune_encoder.experiment.epoch_row import EpochRow, rank
from tune_encoder.experiment.folder import Experiment, SearchFile
from tune_encoder.experiment.run_status import RUNNING
from tune_encoder.experiment.status import (
    FAILED,
    FIELDS,
    metric_value,
    trial_status,
)
from tune_encoder.experiment.trials import TrialRecord, rank_trials
from tune_encoder.experiment.views import ExperimentStatus, status
from tune_encoder.report.figure import Table, table
from tune_encoder.space import SearchSpace
from tune_encoder.system.formats import count_noun, format_short

MAX_DRAWN = 200  # trials of a figure that draws each; more would overlap
_BEST_DRAWN = MAX_DRAWN // 2
_ROW_FIELDS = (
    *FIELDS, "val_loss_se", "val_skill_ttl", "val_skill_dp", "order", "worker", "recorded_at",
    "checkpoint",
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """The data of a search."""

    experiment: Experiment
    content: SearchFile
    """The content of search.yaml."""
    space: SearchSpace
    trials: Sequence[TrialRecord]
    """The trials that have started, without those that were refused untrained."""
    status: ExperimentStatus
    """The result of `experiment.views.status`."""

    @property
    def is_running(self) -> bool:
        """Whether the search is running."""
        return bool(self.status["state"] == RUNNING)

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the best epoch of all, if any."""
        return next(iter(self.scored), None)

    @property
    def metric(self) -> str:
        """Name of the metric of the search."""
        return self.space.metric.name

    @property
    def skill_name(self) -> str:
        """Name of the skill on the validation voices."""
        return skill_name(self.status["voices"])

    def value(self, row: EpochRow) -> float:
        """Return the metric of an epoch."""
        return metric_value(self.space, row)

    def searched(self, trial: TrialRecord) -> dict[str, SettingValue]:
        """What was searched of a trial's settings."""
        return self.space.searched_settings(trial.settings)

    def status_of(self, trial: TrialRecord) -> str:
        """Return the status of a trial in a word or two."""
        return trial_status(trial, self.is_running)

    @cached_property  # used for every mark
    def scored(self) -> list[TrialRecord]:
        """The trials with a result, the best first."""
        return rank_trials(list(self.trials))


def read_facts(experiment: Experiment) -> Facts:
    """Read a search, which may be running.

    Raises:
        ConfigError, StorageError: if its files are damaged.
    """
    space = experiment.space()
    trials = experiment.trials((*_ROW_FIELDS, *space.metric.names))
    began = [trial for trial in trials if trial.state != "WAITING" and not trial.refused]
    return Facts(experiment, experiment.read_search(), space, began, status(experiment, trials))


def sample_for_plot(trials: Sequence[TrialRecord]) -> tuple[list[TrialRecord], str]:
    """Choose the trials of a figure: all, or if there are too many, a sample.

    Half of the sample are the best trials; the rest is evenly spaced over the ranks of all others,
    where trials without a result are last.

    Returns:
        The trials, the worst first so that the best are drawn on top, and a note on the sample.
    """
    order = sorted(trials, key=_rank)
    if len(order) <= MAX_DRAWN:
        return order[::-1], ""
    best, rest = order[:_BEST_DRAWN], order[_BEST_DRAWN:]
    n = MAX_DRAWN - _BEST_DRAWN
    others = [rest[round(i * (len(rest) - 1) / (n - 1))] for i in range(n)]
    note = (
        f" Of {len(order)} trials {MAX_DRAWN} are shown: the {_BEST_DRAWN} best, and {n} evenly "
        "spaced over the ranks of all others."
    )
    return [*best, *others][::-1], note


def _rank(trial: TrialRecord) -> tuple[bool, tuple[float, float]]:
    failed = trial.state == "FAIL" or trial.best is None
    return failed, rank(trial.best) if trial.best is not None else (math.inf, math.inf)


def describe_trial(facts: Facts, trial: TrialRecord) -> str:
    """Describe a trial's status, score and settings in up to three lines."""
    why = f": {trial.reason}" if trial.reason else ""
    lines = [f"trial {trial.number}, {facts.status_of(trial)}{why}"]
    if (best := trial.best) is not None:
        score = f"{facts.metric} {facts.value(best):.4g}"
        lines.append(f"{score} at epoch {best['epoch']} of {count_noun(len(trial.rows), 'epoch')}")
    settings = (f"{name} {format_short(v)}" for name, v in facts.searched(trial).items())
    return "\n".join([*lines, ", ".join(settings)])


UNKNOWN = "no reason was recorded"


def failure_table(facts: Facts) -> Table | None:
    """Return failure reasons with their trials, the most frequent first; None if none failed."""
    by_reason: dict[str, list[int]] = {}
    for trial in facts.trials:
        if facts.status_of(trial) == FAILED:
            by_reason.setdefault(trial.reason or UNKNOWN, []).append(trial.number)
    if not by_reason:
        return None
    ordered = sorted(by_reason.items(), key=lambda entry: -len(entry[1]))
    rows = [[reason, len(numbers), ", ".join(map(str, numbers))] for reason, numbers in ordered]
    return table(["reason", "trials", "trial numbers"], rows)
