"""Views of experiments, during or after a search, as plain values for JSON.

Views only read: they never start, change or unpickle anything.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

from tune_encoder.config import SettingValue, TrainConfig, to_mapping
from tune_encoder.errors import ConfigError, SearchFailed, TuneEncoderError, error_line
from tune_encoder.experiment.epoch_row import EpochRow, as_row, score_of
from tune_encoder.experiment.folder import Experiment, list_experiments, open_experiment
from tune_encoder.experiment.front import FrontPoint, pareto_front
from tune_encoder.experiment.gain import ExpectedGain, hours_per_trial, read_gains
from tune_encoder.experiment.next_steps import NextStep, next_steps
from tune_encoder.experiment.run_status import (
    FINISHED,
    RUNNING,
    STOPPED,
    RunStatus,
    retraining_statuses,
)
from tune_encoder.experiment.status import (
    FIELDS,
    UNFINISHED,
    WAITING,
    BestEpoch,
    Launch,
    SearchStatus,
    best_of,
    format_trial,
    has_ended,
    is_over,
    metric_value,
    search_status,
    trial_status,
)
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import SearchSpace
from tune_encoder.system.formats import count_noun
from tune_encoder.system.lock import LOCK_NAME, Process, lock_holder, lock_process

UNREADABLE = "unreadable"
_PATH_SETTINGS = ("data_dir", "checkpoint_dir")  # settings that do not affect training


class ExperimentStatus(SearchStatus):
    """The status of an experiment."""

    name: str
    path: str
    state: str
    """running, stopped or finished."""
    process: Process | None
    expected: dict[str, float] | None
    """The gain of the next trial and the noise, before the last one that started; see `gain`.

    `gain_per_hour` is for an hour of one worker."""
    retraining: list[RunStatus]
    """The seeds that `retrain` trains or has trained."""
    resume: str | None
    """The command that resumes it, if it is stopped."""
    next: list[NextStep]
    """Commands that fit its state."""


class OverviewEntry(TypedDict):
    """One experiment of a root; if it cannot be read, only name, state and problem are set."""

    name: str
    state: str
    """running, stopped, finished or unreadable."""
    process: Process | None
    trials_ended: int | None
    trials_budget: int | None
    best: BestEpoch | None
    front: list[FrontPoint] | None
    """With two metrics, the trials that no other beats in both; else None."""
    problem: str | None
    """Why it cannot be read."""


class TrialView(TypedDict):
    """The details of one trial."""

    experiment: str
    voices: str | None
    """Whether the validation voices are known from train, new, or mixed; None if unknown."""
    trial: int
    """Its number."""
    state: str
    line: str
    """Its status as text."""
    why: str
    """Why it ended, or when it continues."""
    metric: str
    searched: dict[str, SettingValue]
    changed: dict[str, SettingValue]
    """The settings that differ from the defaults."""
    settings: dict[str, SettingValue]
    best_epoch: int | None
    rows: list[EpochRow]
    checkpoint: str | None
    """Location of the newest checkpoint."""


class BestView(BestEpoch):
    """The best epoch of an experiment, and how to export it."""

    experiment: str
    scores: dict[str, float]
    """Scores on the validation split, and what else the search compares or limits."""
    front: list[FrontPoint]
    """With two metrics, the trials that no other beats in both, the best one first; else empty."""
    checkpoint: str | None
    export: str
    """The command that exports it."""


class ComparedExperiment(TypedDict):
    """One experiment of a comparison."""

    name: str
    budget: dict[str, SettingValue]
    trials_ended: int
    epochs: int
    metric: str
    voices: str | None
    """Whether its validation voices are known from train, new, or mixed; None if unknown."""
    best: BestEpoch | None
    settings: dict[str, SettingValue]
    """Settings of the best trial; empty if there is none."""
    fingerprint: str
    """Fingerprint of its data."""


class Comparison(TypedDict):
    """Experiments side by side."""

    experiments: list[ComparedExperiment]
    differing_settings: dict[str, list[SettingValue]]
    """The best trials' values of each setting that differs, in the order of the experiments."""
    warnings: list[str]
    """Why their scores are not comparable."""


def overview(root: Path) -> list[OverviewEntry]:
    """Return the state of each experiment of the root, or why it cannot be read."""
    return [_entry(experiment) for experiment in list_experiments(root)]


def _entry(experiment: Experiment) -> OverviewEntry:
    try:
        view = status(experiment)
    except TuneEncoderError as error:
        return OverviewEntry(
            name=experiment.name,
            state=UNREADABLE,
            process=None,
            trials_ended=None,
            trials_budget=None,
            best=None,
            front=None,
            problem=error_line(error),
        )
    return OverviewEntry(
        name=view["name"],
        state=view["state"],
        process=view["process"],
        trials_ended=view["trials_ended"],
        trials_budget=view["trials_budget"],
        best=view["best"],
        front=view["front"],
        problem=None,
    )


def newest_experiment(root: Path) -> Experiment:
    """Return the most recently launched experiment.

    Raises:
        ConfigError: if there is none.
    """
    found = list_experiments(root)
    if not found:
        raise ConfigError(f"{root}: no experiment; start one with `tune-encoder search`")
    return max(found, key=_launched_at)


def _launched_at(experiment: Experiment) -> float:
    """When the last launch began, in seconds since 1970: the time it wrote the lock."""
    lock = experiment.path / LOCK_NAME
    return (lock if lock.is_file() else experiment.path / "search.yaml").stat().st_mtime


def status(experiment: Experiment, trials: list[TrialRecord] | None = None) -> ExperimentStatus:
    """Return the status of an experiment, its process, and how to resume it if it is stopped.

    Args:
        experiment: The experiment.
        trials: Its trials if they have been read, with `status.FIELDS` and the metrics.
    """
    space = experiment.space()
    process = lock_process(experiment.path)
    trials = _read_trials(experiment, space) if trials is None else trials
    launch = _launch(experiment, trials) if process else None
    expected = next(reversed(read_gains(experiment)), None)
    at_noise = space.budget.until == "noise" and expected is not None and expected.is_noise
    over = is_over(space, trials) or at_noise
    state = RUNNING if process else FINISHED if over else STOPPED
    found = search_status(space, trials, launch, experiment.voice_kind(), experiment.baselines())
    best = found["best"]["trial"] if found["best"] else None
    failed = next((trial.number for trial in reversed(trials) if trial.state == "FAIL"), None)
    return {
        "name": experiment.name,
        "path": str(experiment.path),
        "state": state,
        "process": process,
        **found,
        "expected": None if expected is None else _expected_view(expected, trials),
        "retraining": retraining_statuses(experiment.path),
        "resume": experiment.command("resume") if state == STOPPED else None,
        "next": next_steps(experiment.path, state, best, failed),
    }


def _expected_view(expected: ExpectedGain, trials: list[TrialRecord]) -> dict[str, float]:
    hours = hours_per_trial(trials)
    per_hour = {"gain_per_hour": expected.gain / hours} if hours else {}
    return {**asdict(expected), **per_hour}


def _launch(experiment: Experiment, trials: list[TrialRecord]) -> Launch:
    began = _launched_at(experiment)
    ended = sum(trial.ended_at is not None and trial.ended_at >= began for trial in trials)
    since = (trial for trial in trials if trial.recorded_at >= began)
    epochs = sum(row.get("recorded_at", 0.0) >= began for trial in since for row in trial.rows)
    return Launch(max(0.0, time.time() - began), ended, epochs)


def _read_trials(experiment: Experiment, space: SearchSpace) -> list[TrialRecord]:
    """The trials, with the fields that the status needs."""
    return experiment.trials((*FIELDS, *space.metric.names))


# --- one trial -----------------------------------------------------------------------------------


def trial_view(experiment: Experiment, number: int) -> TrialView:
    """Return the details of one trial.

    Raises:
        ConfigError: if it does not exist.
    """
    space, trial = experiment.space(), find_trial(experiment, number)
    is_running = lock_holder(experiment.path) is not None
    voices = experiment.voice_kind()
    return {
        "experiment": experiment.name,
        "voices": voices,
        "trial": number,
        "state": trial_status(trial, is_running),
        "line": format_trial(trial, space.budget.epochs, voices, is_running),
        "why": explain_status(trial, space, is_running),
        "metric": space.metric.name,
        "searched": space.searched_settings(trial.settings),
        "changed": changed_settings(trial.settings),
        "settings": trial.settings,
        "best_epoch": trial.best["epoch"] if trial.best else None,
        "rows": [_shown_row(space, row) for row in trial.rows],
        "checkpoint": _newest_checkpoint(experiment, trial),
    }


def _shown_row(space: SearchSpace, row: EpochRow) -> EpochRow:
    return as_row({**row, space.metric.name: metric_value(space, row)})


def find_trial(experiment: Experiment, number: int) -> TrialRecord:
    """Return a trial.

    Raises:
        ConfigError: if it does not exist.
    """
    if experiment.study_path.exists() and (trial := experiment.trial(number)) is not None:
        return trial
    numbers = [trial.number for trial in _read_trials(experiment, experiment.space())]
    there = f"there are {len(numbers)}, from 0 to {numbers[-1]}" if numbers else "there is none yet"
    raise ConfigError(f"{experiment.path}: no trial {number}; {there}")


def explain_status(trial: TrialRecord, space: SearchSpace, is_running: bool) -> str:
    """Explain why a trial ended, or when it continues."""
    if has_ended(trial):
        return _why_ended(trial, space.budget.epochs)
    return {
        WAITING: "it continues once it is known to be among the best there",
        UNFINISHED: "it continues at the next resume",
    }.get(trial_status(trial, is_running), "")


def _why_ended(trial: TrialRecord, epochs: int) -> str:
    if trial.reason or trial.state == "FAIL":
        return trial.reason or "no reason was recorded"
    if trial.state == "PRUNED":
        return "other trials were better at that epoch"
    if len(trial.rows) >= epochs:
        return "it finished all its epochs"
    waited = trial.settings.get("early_stopping_patience")
    if not isinstance(waited, int) or not waited:
        return ""
    return f"no improvement in the last {count_noun(waited, 'epoch')} (early_stopping_patience)"


def changed_settings(settings: Mapping[str, SettingValue]) -> dict[str, SettingValue]:
    """Return the settings that differ from the defaults."""
    defaults = to_mapping(TrainConfig())
    return {name: value for name, value in settings.items() if defaults.get(name) != value}


def _newest_checkpoint(experiment: Experiment, trial: TrialRecord) -> str | None:
    places = (_checkpoint(experiment, row) for row in reversed(trial.rows))
    return next((place for place in places if place is not None), None)


def _checkpoint(experiment: Experiment, row: EpochRow) -> str | None:
    """The location of a row's checkpoint, if it exists; a remote storage is not asked."""
    place = experiment.checkpoint_location(row)
    known = place is not None and (experiment.storage is not None or Path(place).is_file())
    return place if known else None


# --- the best, and several -----------------------------------------------------------------------


def best_view(experiment: Experiment) -> BestView:
    """Return the best epoch of all trials, its scores, and the command that exports it.

    Raises:
        SearchFailed: if no trial has a result.
    """
    space = experiment.space()
    trials = _read_trials(experiment, space)
    best = best_of(space, trials, experiment.voice_kind())
    trial = experiment.trial(best["trial"]) if best else None
    if best is None or trial is None:
        raise SearchFailed(f"{experiment.path}: no trial has a result yet")
    row = next(row for row in trial.rows if row["epoch"] == best["epoch"])
    return {
        "experiment": experiment.name,
        **best,
        "scores": {
            name: score_of(row, name)
            for name in row
            if name.startswith("val_") or name in space.measures
        },
        "front": pareto_front(space, trials),
        "checkpoint": _checkpoint(experiment, row),
        "export": experiment.command("export"),
    }


def compare_experiments(root: Path, names: list[str]) -> Comparison:
    """Return several experiments side by side, and warnings if their scores are not comparable.

    Raises:
        ConfigError: if some were scored on known voices and others on new ones.
    """
    return compare([open_experiment(root, name) for name in names])


def compare(experiments: Sequence[Experiment]) -> Comparison:
    """Return opened experiments side by side; see `compare_experiments`."""
    views = [_compared(experiment) for experiment in experiments]
    _check_same_voices(views)
    return {
        "experiments": views,
        "differing_settings": _differing([view["settings"] for view in views]),
        "warnings": _warnings(views),
    }


def _check_same_voices(views: list["ComparedExperiment"]) -> None:
    kinds = {view["voices"]: view["name"] for view in views if view["voices"] is not None}
    if len(kinds) > 1:
        found = ", ".join(f"{name} on {kind} voices" for kind, name in kinds.items())
        raise ConfigError(
            f"{found}: skill on known and on new voices are different scores; compare searches "
            "whose validation voices are of one kind"
        )


def _compared(experiment: Experiment) -> ComparedExperiment:
    space = experiment.space()
    trials = _read_trials(experiment, space)
    voices = experiment.voice_kind()
    state = search_status(space, trials, None, voices)
    best = state["best"]
    settings = next((t.settings for t in trials if best and t.number == best["trial"]), {})
    return {
        "name": experiment.name,
        "budget": to_mapping(space.budget),
        "trials_ended": state["trials_ended"],
        "epochs": state["epochs"],
        "metric": space.metric.name,
        "voices": voices,
        "best": best,
        "settings": settings,
        "fingerprint": experiment.read_search()["fingerprint"],
    }


def _differing(settings: list[dict[str, SettingValue]]) -> dict[str, list[SettingValue]]:
    """The settings whose values are not all equal; None where there is no best trial."""
    names = dict.fromkeys(name for each in settings for name in each if name not in _PATH_SETTINGS)
    rows = {name: [each.get(name) for each in settings] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def _warnings(views: list[ComparedExperiment]) -> list[str]:
    found = []
    if len({view["fingerprint"] for view in views}) > 1:
        found.append("the data differ, so the scores are not comparable")
    if len({view["metric"] for view in views}) > 1:
        found.append("the metrics differ, so the best values are not comparable")
    return found
