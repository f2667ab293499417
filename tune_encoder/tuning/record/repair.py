"""Rebuild a lost record from what the trials left: their settings, metrics and checkpoints.

What only the record knew is gone: which trials the scheduler had stopped or held, and why some had
failed. A resumed search decides on these again, from the same epochs.
"""

import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from tune_encoder.config import TrainConfig, read_yaml
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.epoch_row import EpochRow, score_of
from tune_encoder.experiment.folder import STUDY_NAME, Experiment
from tune_encoder.experiment.trials import TrialRecord, epoch_key
from tune_encoder.space import SearchSpace
from tune_encoder.system.files import fsync_folder, partial_path
from tune_encoder.system.formats import count_noun
from tune_encoder.system.lock import lock_experiment
from tune_encoder.system.manifest import verify
from tune_encoder.training.checkpoints import State, newest_valid_checkpoint
from tune_encoder.tuning.record.database import Database
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.restore import (
    has_search,
    missing_record_error,
    set_aside,
    write_from_database,
)
from tune_encoder.tuning.record.stored_study import make_study_file, study_url

_TRIAL_FOLDER = re.compile(r"(\d{4,})(_.*)?")  # of a trial, in the names of its folders
_SETTINGS_LOST = "its settings were lost with the record"


@dataclass(frozen=True)
class RepairResult:
    """What a new record was made of."""

    states: dict[str, int]
    """Trials by state."""
    epochs: int
    checkpoints: int
    """Recorded epochs whose checkpoint is there and verifies."""
    lost: list[str]
    """What could not be rebuilt, a line each."""
    backup: Path | None
    """Where the damaged record lies, if there was one."""
    database: str = ""
    """What it was made from, if not from the trials' own files."""


def repair(experiment: Experiment, *, force: bool = False) -> RepairResult:
    """Replace a study.db that is damaged or missing by one made from the trials' own files.

    If the record is in a database too, that is what it is made from.

    Args:
        experiment: One that nobody else holds.
        force: Whether to replace one that is sound, too.

    Raises:
        ConfigError: if it is sound.
        StorageError: if another process holds the experiment, or search.yaml is damaged, or its
            storage's place is another search's, or as `Database`.
    """
    with lock_experiment(experiment.path):
        space = experiment.space()
        if not force:
            _check_damaged(experiment)
        if url := experiment.storage_settings().record:
            return _from_database(experiment, url)
        if experiment.storage is not None:
            experiment.storage.check_owner(experiment.identity())
        salvaged = [_salvage(experiment, space, number) for number in _trial_numbers(experiment)]
        lost = [f"trial {each.number}: {line}" for each in salvaged for line in each.lost]
        with _new_study(experiment, space) as (begun, partial):
            lost += _write_study(partial, begun, space, _in_recorded_order(salvaged))
            backup = set_aside(experiment.study_path)
            partial.replace(experiment.study_path)
            fsync_folder(experiment.path)
    return _summary(experiment, lost, backup)


def _from_database(experiment: Experiment, url: str) -> RepairResult:
    with closing(Database(url, experiment.record_name())) as database:
        if not has_search(experiment, database):
            raise missing_record_error(experiment, database)
        backup = write_from_database(experiment.study_path, database)
    return replace(_summary(experiment, [], backup), database=url)


def _check_damaged(experiment: Experiment) -> None:
    try:
        experiment.check_record()
    except StorageError:
        return
    trials = experiment.trials()
    epochs = count_noun(sum(len(trial.rows) for trial in trials), "epoch")
    raise ConfigError(
        f"{experiment.study_path}: sound, with {count_noun(len(trials), 'trial')} and {epochs}; "
        "--force replaces it all the same"
    )


def _summary(experiment: Experiment, lost: list[str], backup: Path | None) -> RepairResult:
    trials = experiment.trials()
    rows = [row for trial in trials for row in trial.rows]
    states = Counter(trial.state for trial in trials)
    checkpoints = sum("checkpoint" in row for row in rows)
    return RepairResult(dict(sorted(states.items())), len(rows), checkpoints, lost, backup)


# --- what the files say --------------------------------------------------------------------------


class _CheckpointKeys(TypedDict, total=False):
    """What a row says of its checkpoint."""

    checkpoint: str
    checkpoint_sha256: str


@dataclass
class _Salvage:
    """What is left of one trial."""

    number: int
    settings: dict[str, Any]
    rows: list[EpochRow]
    ended_at: float
    """When its last epoch was written, in seconds since 1970."""
    lost: list[str]
    state: str = "RUNNING"


def _trial_numbers(experiment: Experiment) -> list[int]:
    """Every trial that left a file."""
    runs = [path.name for path in experiment.path.glob("trials/*") if path.is_dir()]
    runs += [name.split("/")[1] for name in experiment.checkpoint_names()]
    matches = map(_TRIAL_FOLDER.fullmatch, runs)
    return sorted({int(match[1]) for match in matches if match})


def _salvage(experiment: Experiment, space: SearchSpace, number: int) -> _Salvage:
    """Read what a trial left; what is damaged gives way to its newest checkpoint."""
    lost: list[str] = []
    # A removal that was cut short may have left a manifest alone.
    files = [file for file in experiment.checkpoint_files(number) if file.is_file()]
    checkpoints = _find_checkpoints(experiment, files, lost)
    settings = _read_settings(experiment.trial_config(number), space, lost)
    rows = _read_metrics(experiment.trial_metrics(number), space, lost)
    state: State | None = None
    if not settings or max(checkpoints, default=0) > len(rows):
        _, state, _ = newest_valid_checkpoint(files)
    if state is not None:
        settings = settings or _settings_in_checkpoint(state, space)
        rows += state["history"][len(rows) :]
    found = _Salvage(number, settings, rows, _last_written(experiment, number), lost)
    if rows and not settings:
        lost.append(_SETTINGS_LOST)
        found.state = "FAIL"
    elif rows:
        _decide_state(found, space)
    found.rows = [{**row, **checkpoints.get(row["epoch"], {})} for row in found.rows]
    for row in found.rows:
        row["objective"] = space.metric.sign * score_of(row, space.metric.name)
    return found


def _decide_state(found: _Salvage, space: SearchSpace) -> None:
    """A trial that ended by itself is complete, unless the search has more epochs for it now."""
    last, planned = found.rows[-1], found.settings["epochs"]
    longer = space.budget.epochs > planned <= last["epoch"]
    found.state = "COMPLETE" if last["finished"] and not longer else "RUNNING"
    if found.state == "RUNNING":
        found.rows[-1] = {**last, "finished": False}
        found.settings = {**found.settings, "epochs": space.budget.epochs}


def _find_checkpoints(
    experiment: Experiment, files: list[Path], lost: list[str]
) -> dict[int, _CheckpointKeys]:
    """What a row says of its checkpoint, for each epoch that has one; the newest counts."""
    found: dict[int, _CheckpointKeys] = {}
    for file in sorted(files, key=lambda path: path.stat().st_mtime):
        folder = file.parent.relative_to(experiment.checkpoints).as_posix()
        try:
            epoch, sha256 = verify(file)
        except StorageError:
            lost.append(f"the checkpoint {folder} is damaged")
        else:
            found[epoch] = {"checkpoint": folder, "checkpoint_sha256": sha256}
    return found


def _read_settings(path: Path, space: SearchSpace, lost: list[str]) -> dict[str, Any]:
    """The settings a trial was started with; none if it left none that can be read."""
    if not path.exists():
        return {}
    try:
        settings = read_yaml(path)
        space.config(settings)
    except ConfigError:
        settings = {}
    if not {"epochs", *space.searched_names(settings)} <= settings.keys():
        lost.append(f"{path.name} is damaged")
        return {}
    return settings


def _settings_in_checkpoint(state: State, space: SearchSpace) -> dict[str, Any]:
    """The settings in a checkpoint, but for the one that the worker replaced by its own."""
    threads = space.base.get("num_threads", TrainConfig().num_threads)
    return {**state["config"], "num_threads": threads}


def _read_metrics(path: Path, space: SearchSpace, lost: list[str]) -> list[EpochRow]:
    """The epochs of a metrics.jsonl, all of them or, of a damaged one, none."""
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        epochs = [row["epoch"] for row in rows if row["finished"] in (True, False)]
        whole = epochs == list(range(1, len(rows) + 1))
        whole = whole and all(math.isfinite(row[space.metric.name]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        lost.append(f"{path.name} is damaged")
        return []
    return rows


def _last_written(experiment: Experiment, number: int) -> float:
    path = experiment.trial_metrics(number)
    return path.stat().st_mtime if path.exists() else 0.0


def _in_recorded_order(salvaged: list[_Salvage]) -> dict[int, TrialRecord]:
    """The trials of which anything is left, their rows numbered as they were recorded.

    When an epoch was recorded follows from when the trial's last was, and how long each took.
    """
    moments = []
    for each in salvaged:
        moment = each.ended_at
        for row in reversed(each.rows):
            moments.append((moment, row["epoch"], each.number, row))
            moment -= row.get("seconds", 0.0)
    for order, (*_, row) in enumerate(sorted(moments, key=lambda entry: entry[:3])):
        row["order"] = order
    return {
        each.number: TrialRecord(
            each.number,
            each.state,
            each.settings,
            each.rows,
            "" if each.settings else _SETTINGS_LOST,
        )
        for each in salvaged
        if each.settings or each.rows
    }


# --- the new record ------------------------------------------------------------------------------


@contextmanager
def _new_study(experiment: Experiment, space: SearchSpace) -> Iterator[tuple[optuna.Study, Path]]:
    """Give the study that this search began with, and a hidden path at which to make the new one.

    The one it began with holds what waits to be tried, and is made anew in an experiment beside
    this one.
    """
    beside, partial = partial_path(experiment.path), partial_path(experiment.study_path)
    try:
        shutil.rmtree(beside, ignore_errors=True)  # in a container a killed run had the same PID
        beside.mkdir()
        shutil.copy(experiment.path / "search.yaml", beside)
        begun = Experiment(beside)
        Record.open(begun, space)
        yield optuna.load_study(study_name=STUDY_NAME, storage=study_url(begun.study_path)), partial
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        partial.unlink(missing_ok=True)


def _write_study(
    path: Path, begun: optuna.Study, space: SearchSpace, trials: dict[int, TrialRecord]
) -> list[str]:
    """Make a study of the trials, each under its old number; returns which numbers are new."""
    planned = dict(enumerate(begun.trials))
    rebuilt, lost = [], []
    for number in range(1 + max({*planned, *trials}, default=-1)):
        if number in trials:
            rebuilt.append(_to_frozen_trial(trials[number], space))
        elif number in planned:
            rebuilt.append(planned[number])
        else:  # a launch draws settings for it
            rebuilt.append(create_trial(state=TrialState.WAITING))
            lost.append(f"trial {number}: nothing can be read; it begins anew with other settings")
    make_study_file(path, begun.direction, rebuilt, ())
    return lost


def _to_frozen_trial(trial: TrialRecord, space: SearchSpace) -> FrozenTrial:
    """The trial as the study had it."""
    replay, searched = FixedTrial(trial.settings), space.searched_settings(trial.settings)
    for parameter in space.parameters:
        if parameter.name in searched and parameter.contains(searched[parameter.name]):
            parameter.sample(replay)
    metric = space.metric.name
    notes = {"settings": trial.settings, "reason": trial.reason}
    rows = {epoch_key(row["epoch"]): row for row in trial.rows}
    return create_trial(
        state=TrialState[trial.state],
        value=score_of(trial.best, metric) if trial.state == "COMPLETE" and trial.best else None,
        params=replay.params,
        distributions=replay.distributions,
        user_attrs={**{name: note for name, note in notes.items() if note}, **rows},
        intermediate_values={row["epoch"]: score_of(row, metric) for row in trial.rows},
    )
