"""Searches from Python: what the command line calls, and what a notebook calls.

Nothing heavy is loaded before it is needed, and nothing here prints.
"""

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from tune_encoder.api.results import Experiment, expand_path
from tune_encoder.config import (
    DEFAULT_ROOT,
    LOCAL_LAUNCH,
    LOCAL_STORAGE,
    LaunchSettings,
    StorageSettings,
    TrainConfig,
    unknown_name_message,
)
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import check_name_free
from tune_encoder.space import SearchSpace, find_space, load_space, override_space, parse_space

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from tune_encoder.data.pack import PackedData

# Each override, and the settings of a space that it changes.
_OVERRIDES = {
    "trials": [("budget", "trials")],
    "epochs": [("budget", "epochs")],
    "time": [("budget", "time")],
    "concurrent": [("resources", "concurrent")],
    "seed": [("searcher", "seed"), ("base", "seed")],
}
OVERRIDES = tuple(_OVERRIDES)
Settings = TypeVar("Settings", LaunchSettings, StorageSettings)


class Overrides(TypedDict, total=False):
    """What takes the place of a value in the search space; None changes nothing."""

    trials: int | None
    """Configs to try."""
    epochs: int | None
    """Epochs of a trial that is not stopped."""
    time: str | None
    """Time for one launch, such as "90m"."""
    concurrent: int | None
    """Trials at once; 0 fills the machine."""
    seed: int | None
    """Seed of proposals and trials."""


class LaunchOptions(TypedDict, total=False):
    """Where one launch of a search runs."""

    dashboard: bool | None
    """Whether pages to look at the search with are served while it runs."""
    address: str | None
    """Of a Ray cluster to run on, HOST:PORT or "auto"; without one a Ray of its own is started."""


class Options(Overrides, LaunchOptions, total=False):
    """All that `search` takes by name."""

    warm_start: Sequence[str]
    """Experiments in the root whose best configs are tried first."""
    storage: str | None
    """Where checkpoints are kept; without one in the experiment's folder."""
    record: str | None
    """Database of the record; without one the experiment's folder alone has it."""


class ExtendOptions(TypedDict, total=False):
    """How a search goes on; what is left out stays as it was."""

    trials: int | None
    """Configs to try in all."""
    epochs: int | None
    """Epochs of a trial that is not stopped."""
    time: str | None
    """Time for this launch, such as "90m"."""
    target: float | None
    """Value of the metric that is good enough."""
    accept_data_change: bool
    """Whether to go on although the data is not what it was."""
    record: str | None
    """Database from which the experiment's folder is made again where that is lost."""


class ResumeOptions(ExtendOptions, LaunchOptions, total=False):
    """All that `resume` takes by name."""


def search(
    space: str | Path | Mapping[str, Any] = "quick",
    data_dir: str | Path | None = None,
    name: str = "search",
    root: str | Path = DEFAULT_ROOT,
    **options: "Unpack[Options]",
) -> Experiment:
    """Search for the best encoder, and return the experiment when the search has ended.

    Example:
        >>> found = tune_encoder.search("default", "voices", name="mine", trials=8)
        >>> found.best.settings
        {'learning_rate': 0.0031, 'head': 'pca'}
        >>> found.export()
        PosixPath('runs/mine/best')

    Args:
        space: A space that comes with the program, a YAML file, or a dict of such a file's content.
        data_dir: A data set; without one that of the space, else the built-in demo voices.
        name: The new experiment.
        root: Folder of experiments.
        options: `trials`, `epochs`, `time`, `concurrent`, `seed`, `warm_start`, `dashboard`,
            `address`, `storage` and `record`, as on the command line.

    Raises:
        ConfigError, DataError, StorageError: before anything is trained.
        SearchFailed: if no trial gave a result.
        Interrupted: on Ctrl-C or SIGTERM, with everything saved; `resume` goes on.
    """
    overrides: dict[str, Any] = {**options}
    warm_start = overrides.pop("warm_start", ())
    launch, storage_settings = (
        _pop_settings(LaunchSettings, overrides),
        _pop_settings(StorageSettings, overrides),
    )
    prepared = prepare_search(space, data_dir, name, root, overrides)
    for warning in prepared.data().info["warnings"]:
        warnings.warn(warning, stacklevel=2)
    return prepared.start(warm_start, launch, storage_settings)


def resume(
    name: str, root: str | Path = DEFAULT_ROOT, **options: "Unpack[ResumeOptions]"
) -> Experiment:
    """Go on with a search that was stopped or killed, or extend one that has ended.

    Example:
        >>> tune_encoder.resume("mine").best.scores["val_skill"]
        0.41

    Args:
        name: The experiment.
        root: Folder of experiments.
        options: `trials`, `epochs`, `time`, `target`, `accept_data_change`, `record`,
            `dashboard` and `address`, as on the command line.

    Raises:
        ConfigError: if there is no such experiment.
        StorageError: if its record or its data is not what it was, or another process holds it.
        SearchFailed, Interrupted: as in `search`.
    """
    from tune_encoder.tuning.start import find_search, resume_search

    changes: dict[str, Any] = _check_option_names(
        options, ResumeOptions.__annotations__, "resume()"
    )
    launch = _pop_settings(LaunchSettings, changes)
    folder = find_search(expand_path(root), name, changes.pop("record", ""))
    written = folder.study_path.exists() or folder.has_trials()
    if written and not folder.storage_settings().record:  # else study.db is a copy
        folder.check_record()
    _check_ray_not_running()
    return Experiment(resume_search(expand_path(root), name, launch=launch, **changes).path)


def fork(
    name: str,
    new: str,
    space: str | Path | Mapping[str, Any],
    root: str | Path = DEFAULT_ROOT,
    **launch: "Unpack[LaunchOptions]",
) -> Experiment:
    """Search another space on an earlier search's data, knowing its trials.

    Args:
        name: The earlier experiment.
        new: The new one.
        space: As in `search`.
        root: Folder of both.
        launch: `dashboard` and `address`, as in `search`.

    Raises:
        ConfigError, StorageError, SearchFailed, Interrupted: as in `search`.
    """
    from tune_encoder.tuning.start import fork_search

    _check_ray_not_running()
    settings = LaunchSettings(
        **_check_option_names(launch, LaunchOptions.__annotations__, "fork()")
    )
    folder = fork_search(expand_path(root), name, new, _read_space(space), launch=settings)
    return Experiment(folder.path)


@dataclass(frozen=True)
class PreparedSearch:
    """A search whose space and data are chosen and whose name is free."""

    space: SearchSpace
    data_dir: Path
    is_demo: bool
    """Whether the data is the built-in voices, for want of any other."""
    name: str
    root: Path

    def data(self) -> "PackedData":
        """Check and pack the data, or map the pack that is there."""
        from tune_encoder.data.pack import open_pack, pack_data

        return open_pack(pack_data(self.data_dir, TrainConfig(**self.space.base)))

    def start(
        self,
        warm_start: Sequence[str] = (),
        launch: LaunchSettings = LOCAL_LAUNCH,
        storage_settings: StorageSettings = LOCAL_STORAGE,
    ) -> Experiment:
        """Run the search to its end; see `search`."""
        from tune_encoder.tuning.start import start_search

        _check_ray_not_running()
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
    space: str | Path | Mapping[str, Any],
    data_dir: str | Path | None,
    name: str,
    root: str | Path,
    overrides: Mapping[str, Any],
    where: str = "search()",
) -> PreparedSearch:
    """Choose what a search needs, without starting it; see `search`.

    Args:
        space: As in `search`.
        data_dir: As in `search`.
        name: As in `search`.
        root: As in `search`.
        overrides: As in `search`; None overrides nothing.
        where: Where the overrides come from, for the message.
    """
    chosen = resolve_space(space, overrides, where)
    check_name_free(expand_path(root), name)
    folder = data_dir or chosen.base.get("data_dir")
    return PreparedSearch(
        chosen,
        expand_path(folder) if folder else _demo_voices(),
        not folder,
        name,
        expand_path(root),
    )


def resolve_space(
    space: str | Path | Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> SearchSpace:
    """Read a space and put the overrides into it; see `prepare_search`.

    Raises:
        ConfigError: naming the file or the override, the key, and what is allowed.
    """
    return override_space(
        _read_space(space),
        _section_changes(_check_option_names(overrides, _OVERRIDES, where)),
        where,
    )


def _read_space(space: str | Path | Mapping[str, Any]) -> SearchSpace:
    if isinstance(space, Mapping):
        return parse_space(_to_plain_values(space), "space", Path())
    if isinstance(space, str | Path):
        return load_space(find_space(os.path.expanduser(space)))  # noqa: PTH111  (may be a name)
    raise ConfigError(
        f"space is {space!r}; give the name of a space, the path of a YAML file, or a dict"
    )


def _to_plain_values(value: Any) -> Any:
    """What YAML would have read: Python also has tuples, paths and NumPy's numbers."""
    if isinstance(value, Mapping):
        return {name: _to_plain_values(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain_values(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value


def _check_option_names(
    given: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The options that were given, all of which must be known."""
    for name in given:
        if name not in known:
            raise ConfigError(f"{where}: {unknown_name_message(name, known, 'option')}")
    return {name: value for name, value in given.items() if value is not None}


def _pop_settings(kind: type[Settings], options: dict[str, Any]) -> Settings:
    """Take the options that are settings of this kind away from the others; None is none."""
    given = {field.name: options.pop(field.name, None) for field in fields(kind)}
    return kind(**{name: value for name, value in given.items() if value is not None})


def _section_changes(overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The overrides as a space has them."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        for section, key in _OVERRIDES[name]:
            sections.setdefault(section, {})[key] = value
    return sections


def _demo_voices() -> Path:
    from tune_encoder.data.demo import cached_demo

    return cached_demo()


def _check_ray_not_running() -> None:
    """A search starts and ends Ray itself, and would end a session that is not its own."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        raise StorageError("Ray runs in this process already; end it first with ray.shutdown()")
