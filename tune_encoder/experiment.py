"""The experiment folder: where everything of one search lies, read without Ray or Optuna.

runs/NAME/
  search.yaml     what was searched: space, seed, data, versions
  study.db        the record: an Optuna study in SQLite
  trials/0007/    config.yaml, metrics.jsonl and TensorBoard logs of a trial
  checkpoints/    written by Ray Tune, one folder a launch: 1/0007/checkpoint_000003/; of a search
                  with a storage, what was fetched from there
  best/           made by `export`
"""

import json
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tune_encoder.command_lines import command_line
from tune_encoder.config import KeepingSettings, read_yaml, write_yaml
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.files import whole_folder, write_whole
from tune_encoder.space import SearchSpace, parse_space
from tune_encoder.storage import Storage, names_of_trial

EXPERIMENT_FORMAT = 1
CHECKPOINT_NAME = "checkpoint.pt"
STUDY_NAME = "search"  # of the Optuna study in study.db
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EPOCH = "epoch_"
ORIGIN = "from"  # attribute of a trial that was taken over from another experiment
_COMPARED = ("epoch", "objective", "val_loss")  # what `best` and `objective` read of a row
_SEARCH_KEYS = ("space", "data_dir", "fingerprint", "versions")
_TRIALS = (
    "SELECT trial_id, number, state, datetime_complete FROM trials "
    "WHERE ?1 IS NULL OR number = ?1 ORDER BY number"
)
# A row with a number that JSON has not, such as infinity, SQLite refuses; it is read whole.
_ATTRIBUTES = (
    f"SELECT trial_id, key, CASE WHEN key GLOB '{_EPOCH}*' AND json_valid(value_json) "
    "THEN {row} ELSE value_json END "
    "FROM trials JOIN trial_user_attributes USING (trial_id) WHERE ?1 IS NULL OR number = ?1"
)
_NOT_IN_ADDRESSES = "?%"  # of SQLite files, as SQLAlchemy writes them

Row = dict[str, Any]


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the record has it."""

    number: int
    state: str
    """RUNNING, COMPLETE, PRUNED (stopped by the scheduler), FAIL or WAITING."""
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    """Each finished epoch's metrics, in order."""
    reason: str = ""
    """Why it failed."""
    paused: bool = False
    """RUNNING, but held at a rung until it is known to be among the best there."""
    promoted: int = 0
    """The last epoch at which it was let go on from a rung."""
    ended_at: float | None = None
    """When it ended, in seconds since 1970, as far as the record says."""

    @property
    def best(self) -> Row | None:
        """The epoch of the lowest objective."""
        return min(self.rows, key=objective, default=None)


@dataclass(frozen=True)
class Experiment:
    """The paths of one experiment, and what its files say."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def study_path(self) -> Path:
        """The SQLite file of the study."""
        return self.path / "study.db"

    @property
    def checkpoints(self) -> Path:
        """Where Ray Tune puts checkpoints."""
        return self.path / "checkpoints"

    def trial_dir(self, number: int) -> Path:
        """Where a trial's run leaves its metrics and logs."""
        return self.path / "trials" / f"{number:04d}"

    def trial_config(self, number: int) -> Path:
        """The settings a trial was started with."""
        return self.trial_dir(number) / "config.yaml"

    def trial_metrics(self, number: int) -> Path:
        """Each finished epoch's metrics, as the trial itself writes them."""
        return self.trial_dir(number) / "metrics.jsonl"

    @cached_property
    def storage(self) -> Storage | None:
        """Where its checkpoints are kept, if that is not its folder."""
        place = self.keeping().storage
        return Storage.at(place) if place else None

    def checkpoint_names(self) -> list[str]:
        """Every checkpoint that is kept, of all launches, as LAUNCH/RUN/CHECKPOINT.

        Raises:
            StorageError: if its storage cannot be listed.
        """
        if self.storage is not None:
            return self.storage.names()
        files = self.checkpoints.glob(f"*/*/checkpoint_*/{CHECKPOINT_NAME}")
        return sorted(file.parent.relative_to(self.checkpoints).as_posix() for file in files)

    def checkpoint_files(self, number: int) -> list[Path]:
        """Every checkpoint of a trial, of all launches, fetched if need be.

        Raises:
            StorageError: if its storage cannot be read.
        """
        names = names_of_trial(self.checkpoint_names(), number)
        return [self._fetched(name) for name in names]

    def checkpoint_file(self, row: Row) -> Path | None:
        """The checkpoint of a recorded epoch, fetched if need be; None if none was made.

        It is not there if it was not kept.

        Raises:
            StorageError: if its storage cannot be read.
        """
        name = row.get("checkpoint")
        return self._fetched(name) if name else None

    def _fetched(self, name: str) -> Path:
        if self.storage is not None:
            self.storage.fetch(name, self.checkpoints)
        return self.checkpoints / name / CHECKPOINT_NAME

    def checkpoint_place(self, row: Row) -> str | None:
        """Where the checkpoint of a recorded epoch lies, if it was made; nothing is fetched."""
        name = row.get("checkpoint")
        folder = self.checkpoints if self.storage is None else self.storage.place
        return f"{folder}/{name}/{CHECKPOINT_NAME}" if name else None

    def remove_checkpoint(self, name: str) -> None:
        """Remove a checkpoint, and what was fetched of it."""
        shutil.rmtree(self.checkpoints / name, ignore_errors=True)
        if self.storage is not None:
            self.storage.remove(name)

    def command(self, name: str) -> str:
        """Write the command line that does something with this experiment."""
        return command_line(name, self.path)

    def search(self) -> dict[str, Any]:
        """Read search.yaml.

        Raises:
            StorageError: if it is damaged or was written by a newer version.
        """
        path = self.path / "search.yaml"
        try:
            content = read_yaml(path)
        except ConfigError as error:
            raise StorageError(f"{error}; restore the file") from error
        written = content.get("format")
        if isinstance(written, int) and written > EXPERIMENT_FORMAT:
            raise StorageError(
                f"{self.path}: written in format {written}, this program reads up to "
                f"{EXPERIMENT_FORMAT}; update tune-encoder"
            )
        missing = [name for name in _SEARCH_KEYS if name not in content]
        if missing or written != EXPERIMENT_FORMAT:
            raise StorageError(
                f"{path}: damaged, format is {written!r} and {', '.join(missing) or 'nothing'} "
                "missing; restore the file"
            )
        return content

    def write_search(self, content: dict[str, Any]) -> None:
        """Replace search.yaml."""
        write_whole(self.path / "search.yaml", write_yaml(content).encode())

    def space(self) -> SearchSpace:
        """Read what is searched from search.yaml.

        Raises:
            ConfigError, StorageError: if it is damaged.
        """
        return parse_space(self.search()["space"], f"{self.path / 'search.yaml'}, space", self.path)

    def keeping(self) -> KeepingSettings:
        """Read from search.yaml where it is kept beside its folder."""
        content = self.search()
        names = (field.name for field in fields(KeepingSettings))
        return KeepingSettings(**{name: content.get(name, "") for name in names})

    def identity(self) -> str:
        """Read what tells it from every other, also of its name; empty in an old search.yaml."""
        return str(self.search().get("id", ""))

    def record_name(self) -> str:
        """Read the name it has in the database of its record; a renamed folder keeps that."""
        return str(self.search().get("record_name", self.name))

    def has_trials(self) -> bool:
        """Whether any trial has left files."""
        return any(self.checkpoints.glob("*")) or any(self.path.glob("trials/*"))

    def trials(self, fields: Sequence[str] | None = None) -> list[TrialRecord]:
        """Read every trial from the record, in order of their numbers.

        Args:
            fields: What of each row to read beside epoch and objective; all of it if None. A few
                take less than half of the time.

        Raises:
            StorageError: if the record cannot be read, naming what rebuilds it.
        """
        return self._read(fields, None)

    def trial(self, number: int) -> TrialRecord | None:
        """Read one trial, or return None if there is none of that number; see `trials`."""
        return next(iter(self._read(None, number)), None)

    def _read(self, fields: Sequence[str] | None, number: int | None) -> list[TrialRecord]:
        if not self.study_path.exists() and not self.has_trials():
            return []  # a search in its first seconds
        try:
            return _read_trials(self.study_path, fields, number)
        except (sqlite3.Error, ValueError) as error:
            raise self._unreadable(error) from error

    def check_record(self) -> None:
        """Read all of the record, also the parts that `trials` passes over.

        Raises:
            StorageError: if any of it is damaged or missing, naming what rebuilds it.
        """
        self.trials()
        try:
            with closing(read_only(self.study_path)) as database:
                ((found, *_), *_) = database.execute("PRAGMA integrity_check(1)")
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        if found != "ok":
            raise self._unreadable(found)

    def _unreadable(self, why: object) -> StorageError:
        problem = f"{self.study_path}: cannot be read ({' '.join(str(why).split())})"
        if "locked" in problem:
            return StorageError(f"{problem}; another program is using it, try again")
        if "readonly" in problem:
            return StorageError(f"{problem}; copy {self.path} to where you may write")
        return StorageError(f"{problem}; rebuild it with `{self.command('repair')}`")


def needed_checkpoints(trial: TrialRecord, keep: int = 2) -> set[str]:
    """Return a trial's best checkpoint and its last ones; while it runs, also one before.

    Args:
        trial: Whose checkpoints.
        keep: How many at most, once it has ended.
    """
    n_last = keep if trial.state == "RUNNING" else keep - 1
    rows = (*trial.rows[-n_last:], trial.best or {})
    return {row["checkpoint"] for row in rows if "checkpoint" in row}


def _read_trials(path: Path, fields: Sequence[str] | None, number: int | None) -> list[TrialRecord]:
    """Read the two tables that hold what we wrote; Optuna need not be loaded for it."""
    with closing(read_only(path)) as database:
        database.execute("BEGIN")  # both tables at one moment, while a search writes them
        trials = database.execute(_TRIALS, (number,)).fetchall()
        attributes: dict[int, dict[str, Any]] = {key: {} for key, *_ in trials}
        for key, name, value in _attributes(database, fields, number):
            attributes[key][name] = value
    return [
        TrialRecord(
            number=number,
            state=state,
            settings=attributes[key].get("settings", {}),
            rows=[row for name, row in sorted(attributes[key].items()) if name.startswith(_EPOCH)],
            reason=attributes[key].get("reason", ""),
            paused=attributes[key].get("paused", False),
            promoted=attributes[key].get("promoted", 0),
            ended_at=datetime.fromisoformat(ended).timestamp() if ended else None,
        )
        for key, number, state, ended in trials
        if ORIGIN not in attributes[key]
    ]


def _attributes(
    database: sqlite3.Connection, fields: Sequence[str] | None, number: int | None
) -> Iterator[tuple[int, str, Any]]:
    """Yield trial, name and value of what we wrote; of a row only the fields, if there are any."""
    names = [] if fields is None else list(dict.fromkeys((*_COMPARED, *fields)))
    marks = "".join(f", ?{place}" for place in range(2, 2 + len(names)))
    row = f"json_extract(value_json{marks})" if names else "value_json"
    query = _ATTRIBUTES.format(row=row)
    found = database.execute(query, (number, *(f"$.{name}" for name in names))).fetchall()
    # One call for all: at 20,000 rows the calls would cost as much as the reading.
    values = json.loads(f"[{','.join(text for *_, text in found)}]")
    for (key, name, _), value in zip(found, values, strict=True):
        if names and name.startswith(_EPOCH):
            yield key, name, _fields(names, value)
        else:
            yield key, name, value


def _fields(names: list[str], values: Row | list[Any]) -> Row:
    """What a row has of these fields, from the whole row or from their values or None."""
    if isinstance(values, dict):
        values = [values.get(name) for name in names]
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def read_only(path: Path) -> sqlite3.Connection:
    """Open a study's file for reading."""
    # SQLite makes a log beside the file even to read it; where it may not, nobody writes either.
    log = path.with_name(f"{path.name}-wal")
    settled = not log.exists() and not os.access(path.parent, os.W_OK)
    how = "immutable=1" if settled else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)


def epoch_key(epoch: int) -> str:
    """Name an epoch's row has in the record; names sort as numbers do."""
    return f"{_EPOCH}{epoch:06d}"


def is_epoch_key(name: str) -> bool:
    """Whether something in the record is an epoch's row."""
    return name.startswith(_EPOCH)


def objective(row: Row) -> float:
    """What a search makes small: the metric of its space, negated if that is to be large.

    Rows from before a space could name its metric have only the loss.
    """
    return float(row["objective"] if "objective" in row else row["val_loss"])


def best_trial(trials: list[TrialRecord]) -> TrialRecord | None:
    """Return the trial of the lowest objective over all epochs; failed ones do not count."""
    return next(iter(ranked(trials)), None)


def ranked(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that gave a result, the best first."""
    scored = [trial for trial in trials if trial.best is not None and trial.state != "FAIL"]
    return sorted(scored, key=lambda trial: min(objective(row) for row in trial.rows))


def experiment_path(root: Path, name: str) -> Path:
    """Return the folder of an experiment, which is always directly in its root.

    Raises:
        ConfigError: if the name could leave the root or confuse a shell, or the root could not
            be written as an SQLite address.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the experiment name {name!r} cannot be used; write up to 64 letters, digits, '.', "
            "'_' and '-', beginning with a letter or digit"
        )
    if any(letter in str(root.absolute()) for letter in _NOT_IN_ADDRESSES):
        raise ConfigError(f"{root.absolute()}: has '?' or '%' in its path; choose another --root")
    return root / name


def refuse_taken(root: Path, name: str) -> Path:
    """Return the path of a new experiment.

    Raises:
        ConfigError: if the name is taken or cannot be used.
    """
    path = experiment_path(root, name)
    if path.exists():
        raise ConfigError(
            f"{path} exists; continue it with `{command_line('resume', path)}` or choose another "
            "--name"
        )
    return path


def create_experiment(root: Path, name: str, content: dict[str, Any]) -> Experiment:
    """Make the folder with its search.yaml.

    Raises:
        ConfigError: if the name is taken or cannot be used.
        StorageError: if the folder cannot be written.
    """
    path = refuse_taken(root, name)
    text = write_yaml({"format": EXPERIMENT_FORMAT, "id": secrets.token_hex(16), **content})
    with whole_folder(path) as folder:
        (folder / "search.yaml").write_text(text, encoding="utf-8")
    return Experiment(path)


def open_experiment(root: Path, name: str) -> Experiment:
    """Return an experiment that exists.

    Raises:
        ConfigError: if there is none of that name.
    """
    path = experiment_path(root, name)
    if not (path / "search.yaml").is_file():
        others = [experiment.name for experiment in experiments(root)]
        known = f"there are {', '.join(others)}" if others else f"{root} has none"
        raise ConfigError(f"{path}: no such experiment; {known}")
    return Experiment(path)


def experiments(root: Path) -> list[Experiment]:
    """Return every experiment of a root by name; a folder half made is hidden and not among them.

    Raises:
        ConfigError: if the root could not be written as an SQLite address.
    """
    names = sorted(path.parent.name for path in root.glob("*/search.yaml"))
    return [Experiment(experiment_path(root, name)) for name in names if _NAME.fullmatch(name)]
