"""Searches from Python, for the command line and for notebooks.

Heavy modules are imported only when they are needed, and nothing here prints.
"""

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from tune_encoder.api.options import check_option_names, expand_path
from tune_encoder.api.results import Experiment
from tune_encoder.api.wording import for_python, in_python
from tune_encoder.config import (
    DEFAULT_ROOT,
    LOCAL_LAUNCH,
    LOCAL_STORAGE,
    OVERRIDES,
    LaunchSettings,
    StorageSettings,
    TrackingSettings,
    from_mapping,
    to_mapping,
)
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import Experiment as Folder
from tune_encoder.experiment.folder import check_name_free, experiment_path
from tune_encoder.space import SearchSpace, find_space, load_space, new_space, override_space

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from tune_encoder.data.pack import PackedData
    from tune_encoder.data.validation import Validation

Settings = TypeVar("Settings", LaunchSettings, StorageSettings)


class Overrides(TypedDict, total=False):
    """Options that override settings of the search space; None overrides nothing."""

    trials: int | None
    """Number of trials."""
    epochs: int | None
    """Epochs of a trial that is not stopped early."""
    total_epochs: int | None
    """Epochs of all trials together; without `trials`, as many trials as they allow."""
    time: str | None
    """Time limit of one launch, such as "90m"."""
    until: str | None
    """"noise": also end when the next trial would gain less than the noise; "budget": do not."""
    concurrent: int | None
    """Trials at once; 0: as many as fit."""
    seed: int | None
    """Seed of the sampler and of every trial."""
    folds: int | None
    """Folds of whole voices that trials are scored on; 1: the val split."""
    mlflow: str | None
    """MLflow server to send the search to, http://HOST:PORT."""
    wandb: str | None
    """Weights & Biases project to send it to, [ENTITY/]PROJECT."""


class LaunchOptions(TypedDict, total=False):
    """Where one launch of a search runs."""

    dashboard: bool | None
    """Whether dashboards are served in the browser while the search runs."""
    metrics: bool | None
    """Whether metrics for Prometheus are exported, to this machine only, while it runs."""
    address: str | None
    """Ray cluster to run on, HOST:PORT or "auto"; by default Ray is started on this machine."""
    notify: str | None
    """Command to run, or address to post JSON to, at a new best trial, at the end, at a failure."""


class Options(Overrides, LaunchOptions, total=False):
    """All keyword options of `search`."""

    warm_start: Sequence[str]
    """Experiments in the root whose best configs are tried first."""
    storage: str | None
    """Where checkpoints are stored; by default in the experiment's folder."""
    record: str | None
    """Database that also stores the record; by default only the experiment's folder has it."""


class ExtendOptions(TypedDict, total=False):
    """How a search is continued; what is left out stays unchanged."""

    trials: int | None
    """Total number of trials."""
    epochs: int | None
    """Epochs of a trial that is not stopped early."""
    total_epochs: int | None
    """Epochs of all trials together, including the earlier ones."""
    time: str | None
    """Time limit of this launch, such as "90m"."""
    target: float | None
    """Value of the metric at which the search ends."""
    until: str | None
    """"noise": also end when the next trial would gain less than the noise; "budget": do not."""
    concurrent: int | None
    """Trials at once from now on; 0: as many as fit."""
    mlflow: str | None
    """MLflow server to send the search to, http://HOST:PORT."""
    wandb: str | None
    """Weights & Biases project to send it to, [ENTITY/]PROJECT."""
    accept_data_change: bool
    """Whether to continue although the data has changed."""
    record: str | None
    """Database from which the experiment's folder is restored if it is lost."""


class ForkOptions(LaunchOptions, total=False):
    """All keyword options of `fork`; those of the space take the place of what it says."""

    trials: int | None
    """Number of new trials."""
    epochs: int | None
    """Epochs of a trial that is not stopped early."""
    concurrent: int | None
    """Trials at once; 0: as many as fit."""
    mlflow: str | None
    """MLflow server to send the search to, http://HOST:PORT."""
    wandb: str | None
    """Weights & Biases project to send it to, [ENTITY/]PROJECT."""


class ResumeOptions(ExtendOptions, LaunchOptions, total=False):
    """All keyword options of `resume`."""


@for_python
def search(
    space: str | Path | Mapping[str, object] = "quick",
    data_dir: str | Path | None = None,
    name: str = "search",
    root: str | Path = DEFAULT_ROOT,
    **options: "Unpack[Options]",
) -> Experiment:
    """Run a search, and return the experiment when it has ended.

    Example:
        >>> found = tune_encoder.search("default", "voices", name="mine", trials=8)
        >>> found.best.settings
        {'learning_rate': 0.0031, 'head': 'pca'}
        >>> found.export()
        PosixPath('runs/mine/best')

    Args:
        space: Name of a built-in space, path of a YAML file, or a dict with the content of one.
        data_dir: A data set; by default that of the space, else the built-in demo voices.
        name: Name of the new experiment.
        root: Folder of experiments.
        options: `trials`, `epochs`, `total_epochs`, `time`, `until`, `concurrent`, `seed`, `folds`,
            `mlflow`, `wandb`, `warm_start`, `dashboard`, `metrics`, `address`, `notify`, `storage`
            and `record`, as on the command line.

    Raises:
        ConfigError, DataError, StorageError: before anything is trained.
        SearchFailed: if no trial gave a result.
        Interrupted: on Ctrl-C or SIGTERM, with everything saved; `resume` continues the search.
    """
    overrides: dict[str, Any] = {**options}
    warm_start = overrides.pop("warm_start", ())
    launch, storage_settings = (
        _pop_settings(LaunchSettings, overrides),
        _pop_settings(StorageSettings, overrides),
    )
    prepared = prepare_search(space, data_dir, name, root, overrides)
    for warning in prepared.data().info["warnings"]:
        warnings.warn(in_python(warning, "search()"), stacklevel=3)
    return prepared.start(warm_start, launch, storage_settings)


@for_python
def resume(
    name: str, root: str | Path = DEFAULT_ROOT, **options: "Unpack[ResumeOptions]"
) -> Experiment:
    """Resume a search that was stopped or killed, or extend one that has ended.

    Example:
        >>> tune_encoder.resume("mine").best.scores["val_skill"]
        0.41

    Args:
        name: The experiment.
        root: Folder of experiments.
        options: `trials`, `epochs`, `total_epochs`, `time`, `target`, `until`, `concurrent`,
            `mlflow`, `wandb`, `accept_data_change`, `record`, `dashboard`, `metrics`, `address` and
            `notify`, as on the command line.

    Raises:
        ConfigError: if there is no such experiment.
        StorageError: if its record is damaged, its data has changed, or it is in use by another
            process.
        SearchFailed, Interrupted: as in `search`.
    """
    from tune_encoder.tracking.following import following
    from tune_encoder.tuning.start import find_search, resume_search

    changes: dict[str, Any] = check_option_names(options, ResumeOptions.__annotations__, "resume()")
    launch = _pop_settings(LaunchSettings, changes)
    folder = find_search(expand_path(root), name, changes.pop("record", ""))
    written = folder.study_path.exists() or folder.has_trials()
    if written and not folder.storage_settings().record:  # with a database study.db is only a copy
        folder.check_record()
    _check_ray_not_running()
    with following(folder.path, _changed_tracking(folder, changes), launch.notify):
        resumed = resume_search(expand_path(root), name, launch=launch, **changes)
    return Experiment(resumed.path)


def _changed_tracking(folder: Folder, changes: Mapping[str, Any]) -> TrackingSettings:
    """Return where a resumed search is sent."""
    stored = to_mapping(folder.space().tracking)
    given = {name: changes[name] for name in stored if name in changes}
    return from_mapping(TrackingSettings, {**stored, **given}, "command line, tracking")


@for_python
def fork(
    name: str,
    new: str,
    space: str | Path | Mapping[str, object],
    root: str | Path = DEFAULT_ROOT,
    **options: "Unpack[ForkOptions]",
) -> Experiment:
    """Start a search in another space on the same data, seeded with an earlier search's trials.

    Args:
        name: The earlier experiment.
        new: The new one.
        space: As in `search`.
        root: Folder of both.
        options: `trials`, `epochs`, `concurrent`, `mlflow`, `wandb`, `dashboard`, `metrics`,
            `address` and `notify`, as in `search`.

    Raises:
        ConfigError, StorageError, SearchFailed, Interrupted: as in `search`.
    """
    from tune_encoder.tracking.following import following
    from tune_encoder.tuning.start import fork_search

    _check_ray_not_running()
    changes: dict[str, Any] = check_option_names(options, ForkOptions.__annotations__, "fork()")
    launch = _pop_settings(LaunchSettings, changes)
    other = _read_space(space)
    if changes:
        other = override_space(other, _section_changes(changes), "command line")
    with following(experiment_path(expand_path(root), new), other.tracking, launch.notify):
        folder = fork_search(expand_path(root), name, new, other, launch=launch)
    return Experiment(folder.path)


@dataclass(frozen=True)
class PreparedSearch:
    """A search whose space and data have been checked and whose name is free."""

    space: SearchSpace
    data_dir: Path
    is_demo: bool
    """Whether the data is the built-in demo voices, because no other was given."""
    name: str
    root: Path

    def data(self) -> "PackedData":
        """Check and pack the data, or open the existing pack."""
        from tune_encoder.data.pack import open_pack
        from tune_encoder.data.packing import pack_data

        return open_pack(pack_data(self.data_dir, self.space.base_config()))

    def validation(self) -> "Validation":
        """Choose what trials are scored on, as the search will.

        Raises:
            ConfigError, DataError: if the space asks for folds that are not possible.
        """
        from tune_encoder.data.validation import choose_validation

        return choose_validation(self.data(), self.space.validation, self.space.resources)

    def warm_starts(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Return the trials of each experiment in the root whose configs are tried first.

        Raises:
            ConfigError: if there is no such experiment.
        """
        from tune_encoder.experiment.folder import open_experiment
        from tune_encoder.experiment.portfolio import choose_portfolio

        found: dict[str, list[int]] = {name: [] for name in names}
        searches = [open_experiment(self.root, name) for name in found]
        for each in choose_portfolio(searches, self.space):
            found[each.search].append(each.trial)
        return found

    def start(
        self,
        warm_start: Sequence[str] = (),
        launch: LaunchSettings = LOCAL_LAUNCH,
        storage_settings: StorageSettings = LOCAL_STORAGE,
    ) -> Experiment:
        """Run the search to its end; see `search`."""
        from tune_encoder.tracking.following import following
        from tune_encoder.tuning.start import start_search

        _check_ray_not_running()
        path = experiment_path(self.root, self.name)
        with following(path, self.space.tracking, launch.notify):
            folder = start_search(
                self.space,
                self.data_dir,
                self.root,
                self.name,
                warm_start=list(warm_start),
                launch=launch,
                storage_settings=storage_settings,
            )
        return Experiment(folder.path)


def prepare_search(
    space: str | Path | Mapping[str, object],
    data_dir: str | Path | None,
    name: str,
    root: str | Path,
    overrides: Mapping[str, object],
    where: str = "search()",
) -> PreparedSearch:
    """Resolve the space and data of a search, without starting it; see `search`.

    Args:
        space: As in `search`.
        data_dir: As in `search`.
        name: As in `search`.
        root: As in `search`.
        overrides: As in `search`; None overrides nothing.
        where: Where the overrides come from, for error messages.
    """
    chosen = resolve_space(space, overrides, where)
    check_name_free(expand_path(root), name)
    folder = data_dir or chosen.data_dir
    return PreparedSearch(
        chosen,
        expand_path(folder) if folder else _demo_voices(),
        not folder,
        name,
        expand_path(root),
    )


def resolve_space(
    space: str | Path | Mapping[str, object], overrides: Mapping[str, object], where: str
) -> SearchSpace:
    """Read a space and apply the overrides; see `prepare_search`.

    Raises:
        ConfigError: naming the file or the override, the key, and what is allowed.
    """
    return override_space(
        _read_space(space),
        _section_changes(check_option_names(overrides, OVERRIDES, where)),
        where,
    )


def _read_space(space: str | Path | Mapping[str, object]) -> SearchSpace:
    if isinstance(space, Mapping):
        return new_space(_to_plain_values(space), "space", Path())
    if isinstance(space, str | Path):
        return load_space(find_space(os.path.expanduser(space)))  # noqa: PTH111  (may be a name)
    raise ConfigError(
        f"space is {space!r}; give the name of a built-in space, the path of a YAML file, or a dict"
    )


def _to_plain_values(value: Any) -> Any:
    """Convert to the types that YAML has; Python also has tuples, paths and NumPy numbers."""
    if isinstance(value, Mapping):
        return {name: _to_plain_values(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain_values(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value


def _pop_settings(kind: type[Settings], options: dict[str, Any]) -> Settings:
    """Remove the options that belong to this kind of settings, and return them as settings."""
    given = {field.name: options.pop(field.name, None) for field in fields(kind)}
    return kind(**{name: value for name, value in given.items() if value is not None})


def _section_changes(overrides: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """Arrange the overrides by section of a space."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        for section, key in OVERRIDES[name]:
            sections.setdefault(section, {})[key] = value
    return sections


def _demo_voices() -> Path:
    from tune_encoder.data.demo import cached_demo

    return cached_demo()


def _check_ray_not_running() -> None:
    """Raise a `StorageError` if Ray runs: a search starts Ray itself, and shuts it down."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        raise StorageError(
            "Ray is already running in this process; shut it down first with ray.shutdown()"
        )
