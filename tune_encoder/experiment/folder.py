"""The experiment folder: all files of one search, read without Ray or Optuna.

runs/NAME/
  search.yaml     the search: space, seed, data, versions
  study.db        the record: an Optuna study in SQLite
  trials/0007/    config.yaml, metrics.jsonl and TensorBoard logs of a trial
  checkpoints/    written by Ray Tune, one folder per launch: 1/0007/checkpoint_000003/; of a search
                  with a storage, downloaded checkpoints
  best/           written by `export`
"""

import re
import secrets
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from tune_encoder.config import (
    SECTIONS_MEANT_BEFORE,
    SettingValue,
    StorageSettings,
    TrainConfig,
    changed_defaults,
    is_nameable,
    read_yaml,
    to_mapping,
    write_yaml,
)
from tune_encoder.data.pack_info import SearchedData, recorded_baselines, recorded_voice_kind
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.checkpoint_storage import Storage, checkpoints_of_trial
from tune_encoder.experiment.commands import command_line
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.trials import TrialRecord, read_only, read_trials
from tune_encoder.space import SearchSpace, SpaceContent, read_space
from tune_encoder.system.damage import refuse_damage
from tune_encoder.system.files import atomic_folder, atomic_write

if TYPE_CHECKING:
    from typing_extensions import NotRequired

EXPERIMENT_FORMAT = 1
CHECKPOINT_NAME = "checkpoint.pt"
STUDY_NAME = "search"  # of the Optuna study in study.db
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SEARCH_KEYS = ("space", "data_dir", "fingerprint", "versions")
_KINDS = {  # of what search.yaml has, but for the space, which is checked by itself
    "a text": ("space_name", "data_dir", "fingerprint", "voices", "forked_from", "storage",
               "record", "record_name", "id"),
    "a mapping": ("versions", "baselines", "defaults", "copies"),
    "a list": ("warm_start",),
    "a whole number": ("folds",),
}  # fmt: skip
_TYPES = {"a text": str, "a mapping": dict, "a list": list, "a whole number": int}
_NOT_IN_ADDRESSES = "?%"  # of SQLite files, in SQLAlchemy's URLs


class SearchOrigin(TypedDict, total=False):
    """The origin of a search and its storage locations, in search.yaml."""

    space_name: str
    """Name of the space's file; older searches lack it, and spaces that are in no file."""
    warm_start: list[str]
    """Experiments of the same root whose best configs were tried first."""
    forked_from: str
    """Experiment of the same root whose trials it was seeded with."""
    storage: str
    """Location of the checkpoints; empty if that is its own folder."""
    record: str
    """URL of the record's database; empty if there is none."""
    record_name: str
    """Its name in that database."""
    baselines: dict[str, dict[str, float]]
    """Scores of the baselines over the folds of the search; only if it has folds."""
    folds: int
    """Number of these folds; missing in older searches."""


class SearchContent(SearchOrigin):
    """The description of a search in search.yaml."""

    space: SpaceContent
    """The search space, from `space_to_content`."""
    data_dir: str
    """Absolute path of the data."""
    fingerprint: str
    """Fingerprint of the data when the search began."""
    copies: "NotRequired[dict[str, SettingValue]]"
    """How the copies of train were made when it began; empty: none. Older searches lack it."""
    versions: dict[str, str]
    """Versions of the packages when the search began."""
    voices: "NotRequired[str]"
    """Whether its validation voices are known from train, new, or mixed; older searches lack it."""


class SearchFile(SearchContent, total=False):
    """The content of search.yaml."""

    format: int
    """`EXPERIMENT_FORMAT` of the program that wrote it."""
    id: str
    """Unique ID of the experiment; missing in the oldest ones."""
    defaults: dict[str, SettingValue]
    """Every setting's default when the search began; missing in the oldest ones."""


@dataclass(frozen=True)
class Experiment:
    """The paths and files of one experiment."""

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
        """The folder where Ray Tune writes checkpoints."""
        return self.path / "checkpoints"

    def trial_dir(self, number: int) -> Path:
        """Return the folder of a trial's metrics and logs."""
        return self.path / "trials" / f"{number:04d}"

    def trial_config(self, number: int) -> Path:
        """Return the path of a trial's config."""
        return self.trial_dir(number) / "config.yaml"

    def trial_metrics(self, number: int) -> Path:
        """Return the path of a trial's metrics, one row per finished epoch."""
        return self.trial_dir(number) / "metrics.jsonl"

    @cached_property
    def storage(self) -> Storage | None:
        """The checkpoint storage, if it is not the experiment's folder."""
        place = self.storage_settings().storage
        return Storage.at(place) if place else None

    def checkpoint_names(self) -> list[str]:
        """Return the names of all checkpoints, of all launches, as LAUNCH/RUN/CHECKPOINT.

        Raises:
            StorageError: if its storage cannot be listed.
        """
        if self.storage is not None:
            return self.storage.checkpoint_names()
        files = self.checkpoints.glob(f"*/*/checkpoint_*/{CHECKPOINT_NAME}")
        return sorted(file.parent.relative_to(self.checkpoints).as_posix() for file in files)

    def checkpoint_files(self, number: int) -> list[Path]:
        """Return all checkpoints of a trial, of all launches, downloaded if needed.

        Raises:
            StorageError: if its storage cannot be read.
        """
        names = checkpoints_of_trial(self.checkpoint_names(), number)
        return [self._local_file(name) for name in names]

    def checkpoint_file(self, row: EpochRow) -> Path | None:
        """Return the checkpoint of a recorded epoch, downloaded if needed; None if it has none.

        The file may have been removed since.

        Raises:
            StorageError: if its storage cannot be read.
        """
        name = row.get("checkpoint")
        return self._local_file(name) if name else None

    def _local_file(self, name: str) -> Path:
        if self.storage is not None:
            self.storage.download(name, self.checkpoints)
        return self.checkpoints / name / CHECKPOINT_NAME

    def checkpoint_location(self, row: EpochRow) -> str | None:
        """Return the location of a recorded epoch's checkpoint, if it has one; no download."""
        name = row.get("checkpoint")
        folder = self.checkpoints if self.storage is None else self.storage.location
        return f"{folder}/{name}/{CHECKPOINT_NAME}" if name else None

    def remove_checkpoint(self, name: str) -> None:
        """Remove a checkpoint and its downloaded copy."""
        shutil.rmtree(self.checkpoints / name, ignore_errors=True)
        if self.storage is not None:
            self.storage.remove(name)

    def command(self, name: str) -> str:
        """Return the command line of a command for this experiment."""
        return command_line(name, self.path)

    def stopped_message(self) -> str:
        """Return what is said when a signal has stopped the search."""
        return f"stopped, everything is saved; resume with `{self.command('resume')}`"

    def data_source(self) -> SearchedData:
        """Return the data folder, and what identified its content when the search began."""
        content = self.read_search()
        return SearchedData(
            Path(content["data_dir"]), content["fingerprint"], content.get("copies")
        )

    def read_search(self) -> SearchFile:
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
        _check_kinds(content, path)
        return _with_its_defaults(cast("SearchFile", content))

    def write_search(self, content: SearchFile) -> None:
        """Replace search.yaml."""
        atomic_write(self.path / "search.yaml", write_yaml(content).encode())

    def space(self) -> SearchSpace:
        """Read the search space from search.yaml.

        Raises:
            StorageError: if it is damaged.
        """
        content, where = self.read_search()["space"], f"{self.path / 'search.yaml'}, space"
        try:
            return read_space(content, where, self.path)
        except ConfigError as error:
            raise StorageError(f"{error}; restore the file") from error

    def voice_kind(self) -> str | None:
        """Read whether its validation voices are known from train, new, or mixed.

        An older search did not record it; then the pack in the cache says it, if there is one.
        """
        content = self.read_search()
        if "voices" in content:
            return content["voices"]
        return recorded_voice_kind(content["fingerprint"], self.space().base_config(), "val")

    def storage_settings(self) -> StorageSettings:
        """Read from search.yaml where checkpoints and record are stored outside the folder."""
        content = self.read_search()
        return StorageSettings(storage=content.get("storage", ""), record=content.get("record", ""))

    def fold_baselines(self) -> dict[str, dict[str, float]] | None:
        """Read the scores of the baselines over the search's folds; None if it has no folds."""
        return self.read_search().get("baselines")

    def baselines(self) -> dict[str, dict[str, float]] | None:
        """Read the scores of the baselines on what its trials are scored on.

        Without folds the pack in the cache says them; None if there is no pack any more.
        """
        known = self.fold_baselines()
        if known is not None:
            return known
        return recorded_baselines(self.data_source(), self.space().base_config(), "val")

    def n_folds(self) -> int | None:
        """Read how many folds its trials are scored on, 1 for val; None if an old file lacks it."""
        content = self.read_search()
        return content.get("folds", None if "baselines" in content else 1)

    def identity(self) -> str:
        """Read the unique ID of the search; empty in an old search.yaml."""
        return str(self.read_search().get("id", ""))

    def record_name(self) -> str:
        """Read its name in the database of the record, which stays if the folder is renamed."""
        return str(self.read_search().get("record_name", self.name))

    def has_trials(self) -> bool:
        """Whether any trial has written files."""
        return any(self.checkpoints.glob("*")) or any(self.path.glob("trials/*"))

    def trials(self, fields: Sequence[str] | None = None) -> list[TrialRecord]:
        """Read all trials from the record, in order of their numbers.

        Args:
            fields: Fields of each row to read besides epoch and objective; all if None. Reading a
                few takes less than half the time.

        Raises:
            StorageError: if the record cannot be read, naming the command that rebuilds it.
        """
        return self._read(fields, None)

    def trial(self, number: int) -> TrialRecord | None:
        """Read one trial, or return None if there is no trial of that number; see `trials`."""
        return next(iter(self._read(None, number)), None)

    def _read(self, fields: Sequence[str] | None, number: int | None) -> list[TrialRecord]:
        if not self.study_path.exists() and not self.has_trials():
            return []  # the search has just started
        with refuse_damage(self.unreadable_error):
            return read_trials(self.study_path, fields, None if number is None else [number])

    def check_record(self) -> None:
        """Check the whole record, including the parts that `trials` does not read.

        Raises:
            StorageError: if it is damaged or missing, naming the command that rebuilds it.
        """
        self.trials()
        try:
            with closing(read_only(self.study_path)) as database:
                ((found, *_), *_) = database.execute("PRAGMA integrity_check(1)")
        except sqlite3.Error as error:
            raise self.unreadable_error(error) from error
        if found != "ok":
            raise self.unreadable_error(found)

    def unreadable_error(self, why: object) -> StorageError:
        """Return the error of a record that cannot be read, with what to do about it."""
        problem = f"{self.study_path}: cannot be read ({' '.join(str(why).split())})"
        if "locked" in problem:
            return StorageError(f"{problem}; another program is using it, try again")
        if "readonly" in problem:
            return StorageError(f"{problem}; copy {self.path} to a folder that you may write to")
        if "unable to open" in problem and self.study_path.exists():  # no place for files beside it
            return StorageError(f"{problem}; make room on the disk, also for more files (`df -i`)")
        return StorageError(f"{problem}; rebuild it with `{self.command('repair')}`")


def _check_kinds(content: Mapping[str, object], path: Path) -> None:
    for kind, names in _KINDS.items():
        for name in names:
            value = content.get(name)
            fits = isinstance(value, _TYPES[kind]) and is_nameable(str(value))
            if name in content and not fits:
                raise StorageError(f"{path}: {name} is {value!r}, not {kind}; restore the file")


def experiment_path(root: Path, name: str) -> Path:
    """Return the folder of an experiment, always directly in its root.

    Raises:
        ConfigError: if the name has characters that are not allowed, or the root cannot be part
            of an SQLite URL.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the experiment name {name!r} is not valid; use up to 64 letters, digits, '.', "
            "'_' and '-', beginning with a letter or digit"
        )
    if any(letter in str(root.absolute()) for letter in _NOT_IN_ADDRESSES):
        raise ConfigError(f"{root.absolute()}: has '?' or '%' in its path; choose another --root")
    return root / name


def check_name_free(root: Path, name: str) -> Path:
    """Return the path of a new experiment.

    Raises:
        ConfigError: if the name is in use or not valid.
    """
    path = experiment_path(root, name)
    if path.exists():
        raise ConfigError(
            f"{path} exists; continue it with `{command_line('resume', path)}` or choose another "
            "--name"
        )
    return path


def create_experiment(root: Path, name: str, content: SearchContent) -> Experiment:
    """Create the folder with its search.yaml.

    Raises:
        ConfigError: if the name is in use or not valid.
        StorageError: if the folder cannot be written.
    """
    path = check_name_free(root, name)
    own = {"format": EXPERIMENT_FORMAT, "id": secrets.token_hex(16)}
    text = write_yaml({**own, **content, "defaults": to_mapping(TrainConfig())})
    with atomic_folder(path) as folder:
        (folder / "search.yaml").write_text(text, encoding="utf-8")
    return Experiment(path)


def _with_its_defaults(content: SearchFile) -> SearchFile:
    """Add to the space the defaults that have changed since, so that the search stays as it was."""
    space = cast("dict[str, Any]", content["space"])
    before = {**SECTIONS_MEANT_BEFORE, "base": changed_defaults(content.get("defaults"))}
    try:
        named = {name: {**each, **(space.get(name) or {})} for name, each in before.items()}
    except (AttributeError, TypeError):
        return content  # whoever reads the space says what is wrong
    return {**content, "space": cast("SpaceContent", {**space, **named})}


def open_experiment(root: Path, name: str) -> Experiment:
    """Return an existing experiment.

    Raises:
        ConfigError: if it does not exist.
    """
    path = experiment_path(root, name)
    if not (path / "search.yaml").is_file():
        others = [experiment.name for experiment in list_experiments(root)]
        known = f"there are {', '.join(others)}" if others else f"{root} has none"
        raise ConfigError(f"{path}: no such experiment; {known}")
    return Experiment(path)


def list_experiments(root: Path) -> list[Experiment]:
    """Return all experiments of a root, sorted by name.

    Raises:
        ConfigError: if the root cannot be part of an SQLite URL.
    """
    names = sorted(path.parent.name for path in root.glob("*/search.yaml"))
    return [Experiment(experiment_path(root, name)) for name in names if _NAME.fullmatch(name)]
