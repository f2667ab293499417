"""The trials of an experiment, read from its record in SQLite without Optuna."""

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tune_encoder.config import SettingValue, complete_settings, is_complete
from tune_encoder.experiment.epoch_row import (
    EpochRow,
    checked_row,
    keeps_constraints,
    objective,
    rank,
)
from tune_encoder.system.damage import parse_json

_EPOCH = "epoch_"
_CHANGING = ("RUNNING", "WAITING")  # states in which attributes are set again
MAX_REFUSED = 100  # configs refused one after another; then no more are drawn
ORIGIN = "from"  # attribute of a trial copied from another experiment
REFUSED = "refused"  # attribute of a trial that was not trained, since it breaks a constraint
_ATTRIBUTE_KINDS = {"settings": dict, "reason": str, "paused": bool, "promoted": int, REFUSED: bool}
_REQUIRED = ("val_skill", "seconds", "order")  # of a row, besides epoch and loss
_COMPARED = ("epoch", "objective", "violation", "val_loss")  # fields that `best` reads
_TRIALS = (
    "SELECT trial_id, number, state, datetime_complete FROM trials "
    "WHERE ?1 IS NULL OR number IN (SELECT value FROM json_each(?1)) ORDER BY number"
)
# SQLite rejects numbers that JSON lacks, such as infinity; such a row is read in full.
_ATTRIBUTES = (
    f"SELECT trial_id, key, CASE WHEN key GLOB '{_EPOCH}*' AND json_valid(value_json) "
    "THEN {row} ELSE value_json END "
    "FROM trials JOIN trial_user_attributes USING (trial_id) "
    "WHERE ?1 IS NULL OR number IN (SELECT value FROM json_each(?1))"
)
_STATES = "SELECT number, state, datetime_complete FROM trials"
_COUNT = "SELECT count(*) FROM trial_user_attributes WHERE trial_user_attribute_id > ?"
_OWNERS = (
    "SELECT trial_user_attribute_id, number FROM trial_user_attributes JOIN trials "
    "USING (trial_id) WHERE trial_user_attribute_id >= ? ORDER BY 1"
)


@dataclass(frozen=True)
class Seen:
    """What a record had when it was read, to find what has been written since."""

    states: Mapping[int, tuple[object, ...]] = field(default_factory=dict)
    """State and time of the end of each trial by its number."""
    attributes: int = 0
    """How many there were."""
    newest: tuple[int, int] = (0, 0)
    """Key of the newest one, and its trial's number. A new one gets the next higher key; where the
    newest was deleted, its key is used again."""


class Improvement(NamedTuple):
    """An epoch that is better than all before it."""

    order: int
    """Number of epochs of the search recorded before it."""
    objective: float
    skill: float
    trial: int
    """Its number."""
    epoch: int


@dataclass(frozen=True)
class TrialRecord:
    """One trial of the record."""

    number: int
    state: str
    """RUNNING, COMPLETE, PRUNED (stopped by the scheduler), FAIL or WAITING."""
    settings: dict[str, SettingValue] = field(default_factory=dict)
    """All of them, also those that its program did not know yet; none if it has not started."""
    rows: list[EpochRow] = field(default_factory=list)
    """Each finished epoch's metrics, in order."""
    reason: str = ""
    """Why it failed, was refused, or was ended by a person or a constraint."""
    paused: bool = False
    """RUNNING, but paused at a rung until it is known to be among the best there."""
    promoted: int = 0
    """Epoch of the last rung from which it was promoted."""
    ended_at: float | None = None
    """When it ended, in seconds since 1970, if recorded."""
    refused: bool = False
    """PRUNED before it was trained, since its config breaks a constraint."""

    @property
    def seed(self) -> int:
        """Of its training."""
        seed = self.settings["seed"]
        assert isinstance(seed, int)
        return seed

    @property
    def best(self) -> EpochRow | None:
        """The row with the lowest objective, of those that keep the constraints if any does."""
        return min(self.rows, key=rank, default=None)

    @property
    def improvements(self) -> list[Improvement]:
        """Its epochs that keep the constraints and are better than all such ones before them.

        Epochs are recorded in their order; one that is trained again keeps its place.
        """
        kept = (row for row in self.rows if keeps_constraints(row))
        return _improving(
            Improvement(row["order"], objective(row), row["val_skill"], self.number, row["epoch"])
            for row in kept
        )

    @property
    def seconds(self) -> float:
        """Of its training."""
        return sum(row["seconds"] for row in self.rows)

    @property
    def recorded_at(self) -> float:
        """When its last epoch was recorded, in seconds since 1970; 0 if that is not known."""
        return max((row.get("recorded_at", 0.0) for row in self.rows), default=0.0)

    @property
    def keeps_constraints(self) -> bool:
        """Whether it, or at least one of its epochs, keeps the constraints as far as is known."""
        return not self.refused and (self.best is None or keeps_constraints(self.best))


def _improving(epochs: Iterable[Improvement]) -> list[Improvement]:
    found: list[Improvement] = []
    lowest = math.inf
    for epoch in epochs:
        if epoch.objective < lowest:
            lowest = epoch.objective
            found.append(epoch)
    return found


def needed_checkpoints(trial: TrialRecord, keep: int = 2) -> set[str]:
    """Return the checkpoints to keep: the best and the last ones, one more while it runs.

    Args:
        trial: The trial.
        keep: How many to keep at most, once it has ended.
    """
    n_last = keep if trial.state == "RUNNING" else keep - 1
    best = [trial.best] if trial.best is not None else []
    rows = [*trial.rows[-n_last:], *best]
    return {row["checkpoint"] for row in rows if "checkpoint" in row}


def read_trials(
    path: Path, fields: Sequence[str] | None, numbers: Sequence[int] | None
) -> list[TrialRecord]:
    """Read the two tables that have our data, without Optuna; all trials if `numbers` is None."""
    with closing(read_only(path)) as database:
        database.execute("BEGIN")  # a consistent snapshot of both tables while a search writes them
        return _read(database, fields, numbers)


def read_changed(
    database: sqlite3.Connection, fields: Sequence[str], seen: Seen
) -> tuple[Seen, list[TrialRecord]]:
    """Read the trials that may have changed since the record was seen.

    Those that run are always read: an attribute that is set again keeps its place in the table.

    Returns:
        What the record has now, and the trials read.
    """
    states = {number: tuple(state) for number, *state in database.execute(_STATES)}
    (attributes,) = database.execute(_COUNT, (-1,)).fetchone()
    (added,) = database.execute(_COUNT, (seen.newest[0],)).fetchone()
    owners = database.execute(_OWNERS, (seen.newest[0],)).fetchall()  # also of the newest of then
    is_there = seen.newest in owners or not seen.attributes
    now = Seen(states, attributes, owners[-1] if owners else (0, 0))
    if attributes != seen.attributes + added or not is_there:  # some are gone; nobody knows whose
        return now, _read(database, fields, None)
    written = {number for _, number in owners}
    changed = [
        number
        for number, state in states.items()
        if state[0] in _CHANGING or number in written or seen.states.get(number) != state
    ]
    everything = len(changed) == len(states)
    return now, _read(database, fields, None if everything else changed)


def _read(
    database: sqlite3.Connection, fields: Sequence[str] | None, numbers: Sequence[int] | None
) -> list[TrialRecord]:
    chosen = None if numbers is None else json.dumps(list(numbers))
    trials = database.execute(_TRIALS, (chosen,)).fetchall()
    attributes: dict[int, dict[str, Any]] = {key: {} for key, *_ in trials}
    for key, name, value in _attributes(database, fields, chosen):
        attributes[key][name] = value
    return [
        _trial(number, state, ended, attributes[key])
        for key, number, state, ended in trials
        if ORIGIN not in attributes[key]
    ]


def _trial(number: object, state: object, ended: str | None, found: dict[str, Any]) -> TrialRecord:
    """One trial of its row and its attributes, whose types are checked: SQLite checks none."""
    if not isinstance(number, int) or not isinstance(state, str):
        raise ValueError(f"a trial has the number {number!r} and the state {state!r}")
    for name, kind in _ATTRIBUTE_KINDS.items():
        if not isinstance(found.get(name, kind()), kind):
            raise ValueError(f"{name} of trial {number} is {found[name]!r}")
    settings: Any = found.get("settings", {})
    if not all(isinstance(value, SettingValue) for value in settings.values()):
        raise ValueError(f"settings of trial {number} are {settings!r}")
    if is_complete(settings):
        settings = complete_settings(settings)
    return TrialRecord(
        number=number,
        state=state,
        settings=settings,
        rows=[row for name, row in sorted(found.items()) if name.startswith(_EPOCH)],
        reason=found.get("reason", ""),
        paused=found.get("paused", False),
        promoted=found.get("promoted", 0),
        ended_at=datetime.fromisoformat(ended).timestamp() if ended else None,
        refused=found.get(REFUSED, False),
    )


def _attributes(
    database: sqlite3.Connection, fields: Sequence[str] | None, chosen: str | None
) -> Iterator[tuple[int, str, Any]]:
    """Yield trial, name and value of our attributes; of a row only the fields, if given."""
    names = [] if fields is None else list(dict.fromkeys((*_COMPARED, *fields)))
    placeholders = "".join(f", ?{place}" for place in range(2, 2 + len(names)))
    row = f"json_extract(value_json{placeholders})" if names else "value_json"
    query = _ATTRIBUTES.format(row=row)
    found = database.execute(query, (chosen, *(f"$.{name}" for name in names))).fetchall()
    # One call for all: with 20,000 rows, single calls would take as long as the reading.
    values = parse_json(f"[{','.join(text for *_, text in found)}]")
    for (key, name, _), value in zip(found, values, strict=True):
        if name.startswith(_EPOCH):
            yield key, name, _row(names, value)
        else:
            yield key, name, value


def _row(names: list[str], values: object) -> EpochRow:
    """The fields that a row has, all without names, from the row or from the list of their values.

    Of the required ones those that were asked for must be there; of a whole row, which is shown as
    it is, its skill.
    """
    if names and isinstance(values, dict):
        values = [values.get(name) for name in names]
    if isinstance(values, list):
        values = {n: value for n, value in zip(names, values, strict=True) if value is not None}
    required = [name for name in _REQUIRED if name in names] if names else ["val_skill"]
    return checked_row(values, required)


def read_only(path: Path) -> sqlite3.Connection:
    """Open a study's file read-only."""
    # SQLite creates a log beside the file even to read it; if it may not, nobody writes either.
    log = path.with_name(f"{path.name}-wal")
    immutable = not log.exists() and not os.access(path.parent, os.W_OK)
    mode = "immutable=1" if immutable else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)


def epoch_key(epoch: int) -> str:
    """Return the key of an epoch's row in the record; keys sort like the numbers."""
    return f"{_EPOCH}{epoch:06d}"


def is_epoch_key(name: str) -> bool:
    """Whether a key of the record is that of an epoch's row."""
    return name.startswith(_EPOCH)


def improvements(trials: Sequence[TrialRecord]) -> list[Improvement]:
    """Return the epochs that are better than all recorded before them, without failed trials."""
    counted = (trial for trial in trials if trial.state != "FAIL")
    return _improving(sorted(each for trial in counted for each in trial.improvements))


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the trial with the lowest objective over all epochs; see `rank_trials`."""
    return next(iter(rank_trials(trials)), None)


def rank_trials(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials with a result that keep the constraints, the best first."""
    scored = [
        (trial.best, trial)
        for trial in trials
        if trial.best is not None and trial.state != "FAIL" and trial.keeps_constraints
    ]
    return [trial for _, trial in sorted(scored, key=lambda pair: rank(pair[0]))]


def counts_as_trial(trial: TrialRecord) -> bool:
    """Whether a trial counts against the budget: of a refused config another is drawn instead."""
    return trial.state != "WAITING" and not trial.refused


def has_refused_all(trials: Sequence[TrialRecord]) -> bool:
    """Whether so many of the last configs were refused that no more are drawn."""
    drawn = [trial for trial in trials if trial.state != "WAITING"][-MAX_REFUSED:]
    return len(drawn) == MAX_REFUSED and all(trial.refused for trial in drawn)
