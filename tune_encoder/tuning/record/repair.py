"""Rebuilding a lost record from the files of the trials: settings, metrics and checkpoints.

What only the record contained is lost: which trials were pruned or paused, and why some failed. A
resumed search decides on these again, from the same epochs.
"""

import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, cast

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from tune_encoder.config import SettingValue, TrainConfig, read_yaml
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.epoch_row import EpochRow, score_of
from tune_encoder.experiment.folder import STUDY_NAME, Experiment
from tune_encoder.experiment.trials import TrialRecord, epoch_key
from tune_encoder.space import SearchSpace, excesses
from tune_encoder.system.damage import parse_json
from tune_encoder.system.files import fsync_folder, partial_path
from tune_encoder.system.formats import count_noun
from tune_encoder.system.lock import lock_experiment
from tune_encoder.system.manifest import verify
from tune_encoder.training.checkpoints import State, newest_valid_checkpoint
from tune_encoder.tuning.record.database import Database
from tune_encoder.tuning.record.outcome import rate_row, row_values
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.restore import (
    has_search,
    missing_record_error,
    set_aside,
    write_from_database,
)
from tune_encoder.tuning.record.stored_study import make_study_file, study_url
from tune_encoder.tuning.record.study_file import file_errors

_TRIAL_FOLDER = re.compile(r"(\d{4,})(_.*)?")  # name of a trial's folder: its number and a suffix
_SETTINGS_LOST = "its settings were lost with the record"


@dataclass(frozen=True)
class RepairResult:
    """What a rebuilt record contains."""

    states: dict[str, int]
    """Number of trials by state."""
    epochs: int
    checkpoints: int
    """Number of recorded epochs with an intact checkpoint."""
    lost: list[str]
    """What could not be rebuilt, one line each."""
    backup: Path | None
    """Where the damaged record was moved to, if there was one."""
    database: str = ""
    """The database it was rebuilt from; empty if it was rebuilt from the trials' files."""


def repair(experiment: Experiment, *, force: bool = False) -> RepairResult:
    """Rebuild a study.db that is damaged or missing from the trials' files.

    If a database has the record too, it is rebuilt from that instead.

    Args:
        experiment: An experiment that no other process uses.
        force: Whether to also replace an intact study.db.

    Raises:
        ConfigError: if study.db is intact.
        StorageError: if the experiment is in use, or search.yaml is damaged, or its storage belongs
            to another search, or for the reasons of `Database`.
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
        study_path = experiment.study_path
        written = file_errors(study_path, "written")
        with _new_study(experiment, space) as (initial, partial), written:
            lost += _write_study(partial, initial, space, _in_recorded_order(salvaged))
            backup = set_aside(study_path)
            partial.replace(study_path)
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
        f"{experiment.study_path}: intact, with {count_noun(len(trials), 'trial')} and {epochs}; "
        "use --force to replace it anyway"
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
    """What could be recovered of one trial."""

    number: int
    settings: dict[str, SettingValue]
    rows: list[EpochRow]
    ended_at: float
    """When its last epoch was written, in seconds since 1970."""
    lost: list[str]
    state: str = "RUNNING"


def _trial_numbers(experiment: Experiment) -> list[int]:
    """Return the number of every trial that has a file."""
    runs = [path.name for path in experiment.path.glob("trials/*") if path.is_dir()]
    runs += [name.split("/")[1] for name in experiment.checkpoint_names()]
    matches = map(_TRIAL_FOLDER.fullmatch, runs)
    return sorted({int(match[1]) for match in matches if match})


def _salvage(experiment: Experiment, space: SearchSpace, number: int) -> _Salvage:
    """Read the files of a trial; damaged ones are replaced by its newest checkpoint's content."""
    lost: list[str] = []
    # An interrupted removal may have left only the manifest.
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
        rate_row(row, space)
    return found


def _decide_state(found: _Salvage, space: SearchSpace) -> None:
    """Mark a trial that ended by itself as complete, unless the budget now has more epochs."""
    last, planned = found.rows[-1], found.settings["epochs"]
    assert isinstance(planned, int)
    longer = space.budget.epochs > planned <= last["epoch"]
    found.state = "COMPLETE" if last["finished"] and not longer else "RUNNING"
    if found.state == "RUNNING":
        found.rows[-1] = {**last, "finished": False}
        found.settings = {**found.settings, "epochs": space.budget.epochs}


def _find_checkpoints(
    experiment: Experiment, files: list[Path], lost: list[str]
) -> dict[int, _CheckpointKeys]:
    """Return the row entries of each epoch's newest intact checkpoint."""
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


def _read_settings(path: Path, space: SearchSpace, lost: list[str]) -> dict[str, SettingValue]:
    """Read the settings a trial was started with; empty if they are missing or damaged."""
    if not path.exists():
        return {}
    try:
        settings = cast("dict[str, SettingValue]", read_yaml(path))
        space.config(settings)  # which checks their types
    except ConfigError:
        settings = {}
    if not {"epochs", *space.searched_names(settings)} <= settings.keys():
        lost.append(f"{path.name} is damaged")
        return {}
    return settings


def _settings_in_checkpoint(state: State, space: SearchSpace) -> dict[str, SettingValue]:
    """Return the settings in a checkpoint, without those of the worker's own."""
    own = ("num_threads", "init_from")
    before = {name: space.base.get(name, getattr(TrainConfig(), name)) for name in own}
    return {**state["config"], **before}


def _read_metrics(path: Path, space: SearchSpace, lost: list[str]) -> list[EpochRow]:
    """Read the epochs of a metrics.jsonl; none at all if it is damaged."""
    if not path.exists():
        return []
    try:
        rows = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
        epochs = [row["epoch"] for row in rows if row["finished"] in (True, False)]
        complete = epochs == list(range(1, len(rows) + 1))
        complete = complete and all(
            math.isfinite(row[name]) for row in rows for name in space.metric.names
        )
    except (OSError, ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        lost.append(f"{path.name} is damaged")
        return []
    return rows


def _last_written(experiment: Experiment, number: int) -> float:
    path = experiment.trial_metrics(number)
    return path.stat().st_mtime if path.exists() else 0.0


def _in_recorded_order(salvaged: list[_Salvage]) -> dict[int, TrialRecord]:
    """Return the trials of which anything is left, with rows numbered in recorded order.

    The time of an epoch is computed from the time of the trial's last epoch and their durations.
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
    """Yield the study that this search started with, and a temporary path for the new one.

    The former contains the configs that are still to be tried, and is created again in a temporary
    experiment.
    """
    temporary, partial = partial_path(experiment.path), partial_path(experiment.study_path)
    try:
        # In a container a process that was killed may have had the same PID.
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        shutil.copy(experiment.path / "search.yaml", temporary)
        initial = Experiment(temporary)
        Record.open(initial, space)
        yield (
            optuna.load_study(study_name=STUDY_NAME, storage=study_url(initial.study_path)),
            partial,
        )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        partial.unlink(missing_ok=True)


def _write_study(
    path: Path, initial: optuna.Study, space: SearchSpace, trials: dict[int, TrialRecord]
) -> list[str]:
    """Write a study of the trials with their old numbers; return a line for each new trial."""
    planned = dict(enumerate(initial.trials))
    rebuilt, lost = [], []
    for number in range(1 + max({*planned, *trials}, default=-1)):
        if number in trials:
            rebuilt.append(_to_frozen_trial(trials[number], space))
        elif number in planned:
            rebuilt.append(planned[number])
        else:  # the next launch samples settings for it
            rebuilt.append(create_trial(state=TrialState.WAITING))
            lost.append(f"trial {number}: nothing can be read; it starts again with new settings")
    make_study_file(path, space.metric, rebuilt, ())
    return lost


def _to_frozen_trial(trial: TrialRecord, space: SearchSpace) -> FrozenTrial:
    """Convert to a trial of Optuna, as it was in the study."""
    replay, searched = FixedTrial(trial.settings), space.searched_settings(trial.settings)
    for parameter in space.parameters:
        if parameter.name in searched and parameter.contains(searched[parameter.name]):
            parameter.sample(replay)
    metric, has_value = space.metric.name, trial.state == "COMPLETE"
    notes = {"settings": trial.settings, "reason": trial.reason}
    rows = {epoch_key(row["epoch"]): row for row in trial.rows}
    return create_trial(
        state=TrialState[trial.state],
        values=row_values(trial.best, space) if has_value and trial.best else None,
        constraints=excesses(space.constraints, {**trial.best}) if has_value and trial.best else {},
        params=replay.params,
        distributions=replay.distributions,
        user_attrs={**{name: note for name, note in notes.items() if note}, **rows},
        intermediate_values={row["epoch"]: score_of(row, metric) for row in trial.rows},
    )
