"""A search to be submitted to a cluster: checked here, and run there by a command."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune_encoder.api.options import expand_path
from tune_encoder.api.searching import resolve_space
from tune_encoder.config import LOCAL_STORAGE, StorageSettings, write_yaml
from tune_encoder.errors import DataError
from tune_encoder.experiment.folder import experiment_path
from tune_encoder.space import SearchSpace, space_to_content

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # which no shell and no option reads anew
CLUSTER_OPTIONS = ("--address", "auto")  # that of RAY_ADDRESS, which Jobs set
PROGRAM = ("python", "-m", "tune_encoder")


@dataclass(frozen=True)
class Submission:
    """A search that passed all checks that need no cluster."""

    name: str
    space: SearchSpace
    data_dir: Path | None
    """Its path on the cluster; None for the demo voices."""
    root: Path
    warm_start: tuple[str, ...] = ()
    export: bool = True
    storage_settings: StorageSettings = LOCAL_STORAGE

    @property
    def space_file(self) -> str:
        """Name of the file of the space in the job, after which the search calls its space."""
        name = self.space.name
        return f"{name if _FILE_NAME.fullmatch(name) else 'space'}.yaml"

    @property
    def space_text(self) -> str:
        """The search space as YAML, with all overrides applied."""
        return write_yaml(space_to_content(self.space))

    def search_command(self, space_file: str) -> list[str]:
        """Return the command that runs the search on the cluster."""
        place = ["--name", self.name, "--root", str(self.root), *CLUSTER_OPTIONS]
        words = [*PROGRAM, "search", "--space", space_file, *place]
        if self.data_dir is not None:
            words += ["--data-dir", str(self.data_dir)]
        if self.warm_start:
            words += ["--warm-start", *self.warm_start]
        for name, value in asdict(self.storage_settings).items():
            words += [f"--{name}", value] if value else []
        return words + self._no_export()

    def resume_command(self) -> list[str]:
        """Return the command that resumes the search on the cluster."""
        place = [self.name, "--root", str(self.root), *CLUSTER_OPTIONS]
        return [*PROGRAM, "resume", *place, *self._no_export()]

    def _no_export(self) -> list[str]:
        return [] if self.export else ["--no-export"]


def prepare_submission(
    space: str | Path | Mapping[str, object],
    data_dir: str | Path | None,
    name: str,
    root: str | Path,
    options: Mapping[str, Any],
    shared: Path | None = None,
) -> Submission:
    """Check a search that is to run on a cluster.

    Args:
        space: As in `tune_encoder.search`.
        data_dir: As in `tune_encoder.search`, but a path on the cluster.
        name: Name of the new experiment.
        root: Path of the folder of experiments on the cluster.
        options: `warm_start`, `export` and overrides of the space, as in `Client.submit`.
        shared: Folder that relative paths start from on the cluster; None if the cluster shares
            this machine's disk.

    Raises:
        ConfigError: if the name or the space is invalid.
        DataError: if a relative path of a data set does not exist on this machine.
    """
    overrides = dict(options)
    warm_start = tuple(overrides.pop("warm_start", ()))
    export = overrides.pop("export", True)
    storage_settings = StorageSettings(
        storage=_shared_storage(overrides.pop("storage", None) or "", shared),
        record=overrides.pop("record", None) or "",
    )
    chosen = resolve_space(space, overrides, "submit")
    folder = data_dir or chosen.data_dir or None
    place = absolute_on_cluster(root, shared)
    for each in (name, *warm_start):
        experiment_path(place, each)
    data = None if folder is None else _data_dir_on_cluster(expand_path(folder), shared)
    return Submission(name, chosen, data, place, warm_start, export, storage_settings)


def absolute_on_cluster(path: str | Path, shared: Path | None = None) -> Path:
    """Return the absolute path on the cluster of a path that may be relative."""
    return (shared or Path.cwd()) / expand_path(path)


def _shared_storage(storage: str, shared: Path | None) -> str:
    """Make a storage folder absolute, since a job starts in its own working directory."""
    return storage if not storage or "://" in storage else str(absolute_on_cluster(storage, shared))


def _data_dir_on_cluster(folder: Path, shared: Path | None) -> Path:
    path = absolute_on_cluster(folder, shared)
    if shared is None and not folder.is_absolute() and not path.is_dir():
        raise DataError(
            f"{folder}: no such folder here; give the absolute path of a data set on the cluster"
        )
    return path
