"""Start, resume, extend and fork searches, with all checks that can be made before Ray starts.

Ray and Optuna are imported only after these checks.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from tune_encoder.config import (
    LOCAL_LAUNCH,
    LOCAL_STORAGE,
    LaunchSettings,
    PackSettings,
    StorageSettings,
    ValidationSettings,
    to_mapping,
    unlike_pack,
)
from tune_encoder.data.folds import check_folds
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import check_same_data, pack_data, pack_of_search
from tune_encoder.data.score_words import NEW
from tune_encoder.data.validation import choose_validation, validation_of
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.checkpoint_storage import (
    Storage,
    checkpoint_location,
    storage_of_location,
)
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import (
    Experiment,
    SearchContent,
    SearchFile,
    SearchOrigin,
    check_name_free,
    create_experiment,
    experiment_path,
    open_experiment,
)
from tune_encoder.space import SearchSpace, parse_space, space_to_content
from tune_encoder.system.deadline import Deadline
from tune_encoder.system.lock import lock_experiment
from tune_encoder.system.shortage import resumable
from tune_encoder.system.signals import interruptible
from tune_encoder.tuning.cluster.ray_settings import protect_token, set_environment
from tune_encoder.tuning.cluster.temporary import RAY_FOLDER, ray_parent
from tune_encoder.tuning.extend import extend_search
from tune_encoder.tuning.listening import check_can_listen, check_speaks
from tune_encoder.tuning.noise import check_noise_known

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tune_encoder.tuning.record.database import Database


def start_search(
    space: SearchSpace,
    data_dir: Path,
    root: Path,
    name: str,
    *,
    warm_start: Sequence[str] = (),
    launch: LaunchSettings = LOCAL_LAUNCH,
    storage_settings: StorageSettings = LOCAL_STORAGE,
) -> Experiment:
    """Run a new search to its end.

    Args:
        space: What to search.
        data_dir: A data set, which is checked and packed before anything starts.
        root: Folder of experiments.
        name: Name of the new experiment.
        warm_start: Experiments in the root whose best configs are tried first.
        launch: Where it runs.
        storage_settings: Where it is stored.

    Raises:
        ConfigError, DataError, StorageError: before Ray starts.
        SearchFailed: if no trial gave a result.
        Interrupted: on Ctrl-C or SIGTERM, with everything saved.
    """
    for other in warm_start:
        open_experiment(root, other)
    extra_content: SearchOrigin = {
        "warm_start": list(warm_start),
        **_storage_content(storage_settings, name),
    }
    return _start(space, data_dir, root, name, launch, extra_content)


def fork_search(
    root: Path,
    name: str,
    new: str,
    space: SearchSpace,
    launch: LaunchSettings = LOCAL_LAUNCH,
) -> Experiment:
    """Run a new search on the data of an earlier one, seeded with its trials, in the same storage.

    Raises:
        ConfigError: if there is no such experiment, the new name is taken, or the space has
            another validation, front end or other copies.
    """
    old = open_experiment(root, name)
    data_dir = old.data_source().folder
    space = _validated_like(old, space)
    _check_same_pack(old, space)
    extra_content: SearchOrigin = {
        "forked_from": name,
        **_storage_content(_parent_storage_settings(old), new),
    }
    return _start(space, data_dir, root, new, launch, extra_content)


def _validated_like(old: Experiment, space: SearchSpace) -> SearchSpace:
    """Return the space with the validation of an earlier search, whose scores it is seeded with.

    Raises:
        ConfigError: if it asks for another validation.
    """
    folds, asked = old.space().validation.folds, space.validation.voices
    if asked not in (0, folds):
        raise ConfigError(
            f"validation.voices is {asked}, but the trials of {old.name} were scored with {folds}, "
            "and cannot be compared; leave it out, or start a new search"
        )
    return replace(space, validation=ValidationSettings(voices=folds))


def _check_same_pack(old: Experiment, space: SearchSpace) -> None:
    """Raise a `ConfigError` if the trials of an earlier search had other features or copies."""
    before, now = (to_mapping(each.base_config()) for each in (old.space(), space))
    for name, was, new in unlike_pack(before, now):
        raise ConfigError(
            f"{name} is {new}, but the trials of {old.name} were trained with {was}, and cannot be "
            f"compared; set it to {was} in base, or start a new search with the option "
            f"`--warm-start {old.name}`"
        )


def _start(
    space: SearchSpace,
    data_dir: Path,
    root: Path,
    name: str,
    launch: LaunchSettings,
    extra_content: SearchOrigin,
) -> Experiment:
    check_name_free(root, name)
    launch = check_launch(space, launch)
    if extra_content["storage"]:
        _check_not_own_folder(extra_content["storage"], experiment_path(root, name))
        storage = Storage.at(extra_content["storage"])
        storage.check()
        storage.check_unused()
    if record := extra_content["record"]:
        _check_record_free(record, name)
        extra_content = {**extra_content, "record_name": name}
    space = _pin_initial_model(space)
    check_can_listen(space)
    if space.budget.trials:  # a grid may have fewer
        space = replace(space, budget=replace(space.budget, trials=space.n_trials))
    settings = space.base_config()
    pack = pack_data(data_dir, settings)
    data = open_pack(pack)
    validation = choose_validation(data, space.validation, space.resources)
    space = replace(space, validation=validation.settings)
    check_noise_known(space, data)
    check_speaks(space, data)
    content: SearchContent = {
        "space": space_to_content(space),
        "data_dir": str(data_dir.resolve()),
        "fingerprint": data.info["fingerprint"],
        "copies": data.info.get("copies", {}),
        "versions": versions(),
        "voices": NEW if validation.folds > 1 else data.voice_kind("val"),
        **extra_content,
    }
    if space.name:
        content |= {"space_name": space.name}
    if validation.folds > 1:
        content |= {"baselines": validation.baselines, "folds": validation.folds}
    if forked := extra_content.get("forked_from"):
        check_same_data(Experiment(root / forked).data_source(), data.info, settings)
    _check_ray_can_start()
    experiment = create_experiment(root, name, content)
    with _taken(experiment) as database:
        _launch(experiment, space, pack, launch, database)
    return experiment


def _check_ray_can_start() -> None:
    """Raise a `StorageError` if Ray has no place for its token or its sockets."""
    protect_token()
    ray_parent(RAY_FOLDER, quietly=True)


def _pin_initial_model(space: SearchSpace) -> SearchSpace:
    """Check the model that trials start from, and put its path and SHA-256 into the space.

    Raises:
        ConfigError, StorageError: if it cannot be used, or is not the one the search began with.
    """
    if not space.base.get("init_from"):
        return space
    from tune_encoder.training.initial_model import pin_initial_model  # loads torch

    config = pin_initial_model(space.base_config())
    pinned = {"init_from": config.init_from, "init_sha256": config.init_sha256}
    return replace(space, base={**space.base, **pinned})


def _check_not_own_folder(place: str, path: Path) -> None:
    """Raise a `ConfigError` if the storage is the experiment's folder, or in it."""
    if "://" not in place and Path(place).resolve().is_relative_to(path.resolve()):
        raise ConfigError(
            f"storage is {storage_of_location(place)}: checkpoints would be in {path}, where they "
            "are without a storage anyway; leave it out, or name another folder"
        )


def _check_record_free(record: str, name: str) -> None:
    """Raise a `ConfigError` if the database has a search of that name."""
    from tune_encoder.tuning.record.database import check_record_free

    check_record_free(record, name)


def _open_database(experiment: Experiment) -> "AbstractContextManager[Database | None]":
    """Connect to the database of the record, if it has one; only then is Optuna imported."""
    if not experiment.storage_settings().record:
        return nullcontext()
    from tune_encoder.tuning.record.restore import open_database

    return open_database(experiment)


@contextmanager
def _taken(experiment: Experiment) -> "Iterator[Database | None]":
    """Lock an experiment and connect to its database.

    A signal, or a disk that is full, ends the block with a line that says how to resume.
    """
    with (
        interruptible(experiment.stopped_message),
        resumable(lambda: f"then resume with `{experiment.command('resume')}`"),
        lock_experiment(experiment.path),
        _open_database(experiment) as database,
    ):
        yield database


def find_search(root: Path, name: str, record: str = "") -> Experiment:
    """Return an experiment, whose folder is restored from the database if it is lost.

    Args:
        root: Folder of experiments.
        name: The experiment.
        record: Database of its record; without one a lost folder cannot be restored.

    Raises:
        ConfigError: if there is no such experiment, or the database does not have its record.
        StorageError: if the database does not answer.
    """
    path = experiment_path(root, name)
    if record and not (path / "search.yaml").is_file():
        from tune_encoder.tuning.record.restore import restore

        print(restore(path, StorageSettings(record=record).record))  # noqa: T201
    experiment = open_experiment(root, name)
    known = experiment.storage_settings().record
    if record not in ("", known):
        raise ConfigError(
            f"record: {path / 'search.yaml'} has {known or 'none'}; leave the option out, or "
            "change the file if the database has moved"
        )
    return experiment


def resume_search(
    root: Path,
    name: str,
    *,
    accept_data_change: bool = False,
    launch: LaunchSettings = LOCAL_LAUNCH,
    record: str = "",
    **budget: Any,
) -> Experiment:
    """Resume a search that was stopped or killed, or extend one that has ended.

    Args:
        root: Folder of experiments.
        name: The experiment.
        accept_data_change: Whether to continue with data that has changed since the search started.
        launch: As in `start_search`.
        record: As in `find_search`.
        **budget: trials, epochs, total_epochs, time, target or until, to replace the space's.

    Raises:
        StorageError: if the data has changed, or the experiment is in use by another process.
        ConfigError: if the budget is smaller than before.
    """
    experiment = find_search(root, name, record)
    with _taken(experiment) as database:
        Controls(experiment).clear()
        content = experiment.read_search()
        where = f"{experiment.path / 'search.yaml'}, space"
        space = _pin_initial_model(parse_space(content["space"], where, experiment.path))
        launch = check_launch(space, launch)
        if budget.get("until") == "noise":
            _check_noise_known(experiment, space)
        if space.listens:
            check_can_listen(space)
            check_speaks(space, _present_data(experiment, space))
        space = extend_search(experiment, space, budget, database)
        if experiment.storage is not None:
            experiment.storage.check()
        settings = space.base_config()
        if accept_data_change:
            accept_data(experiment, settings)
        pack = pack_of_search(experiment.data_source(), settings)
        _launch(experiment, space, pack, launch, database)
    return experiment


def _check_noise_known(experiment: Experiment, space: SearchSpace) -> None:
    """Check that a search can end at the noise from now on; see `check_noise_known`."""
    asked = replace(space, budget=replace(space.budget, until="noise"))
    check_noise_known(asked, _present_data(experiment, space), experiment)


def _present_data(experiment: Experiment, space: SearchSpace) -> PackedData:
    """Return the data of a search as it is now."""
    return open_pack(pack_data(experiment.data_source().folder, space.base_config()))


def _storage_content(storage_settings: StorageSettings, name: str) -> SearchOrigin:
    """Return search.yaml's entries on storage; the location stays if the experiment is renamed."""
    storage = (
        checkpoint_location(storage_settings.storage, name) if storage_settings.storage else ""
    )
    return {"storage": storage, "record": storage_settings.record}


def _parent_storage_settings(experiment: Experiment) -> StorageSettings:
    """Return the settings of the storage that an experiment shares with others."""
    storage_settings = experiment.storage_settings()
    return replace(storage_settings, storage=storage_of_location(storage_settings.storage))


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result may depend on."""
    return {name: version(name) for name in ("tune-encoder", "torch", "ray", "optuna", "numpy")}


def check_launch(space: SearchSpace, launch: LaunchSettings) -> LaunchSettings:
    """Return the settings with the resolved HOST:PORT of the cluster, if one is named.

    Raises:
        ConfigError, StorageError: if a trial can never run there, as far as is known before Ray
            starts.
    """
    set_environment()
    if launch.address:
        from tune_encoder.tuning.cluster.connection import resolve_address

        address = resolve_address(launch.address, space.resources, launch.metrics)
        return replace(launch, address=address)
    wanted, present = space.resources.cpus, os.cpu_count() or 1
    if wanted > present:
        raise StorageError(
            f"resources.cpus is {wanted}, but this machine has {present}; lower it in the search "
            "space"
        )
    if space.resources.gpus:
        from tune_encoder.tuning.cluster.capacity import check_gpus

        check_gpus(space.resources)
    return launch


def _launch(
    experiment: Experiment,
    space: SearchSpace,
    pack: Path,
    launch: LaunchSettings,
    database: "Database | None",
) -> None:
    if experiment.storage is not None:
        experiment.storage.claim(experiment.identity())
    starting = nullcontext() if experiment.trials() else _start_ray_early(experiment, launch)
    with Deadline() as deadline, starting:
        from tune_encoder.tuning.driver.launch import launch_search
        from tune_encoder.tuning.record.record import Record

        launch_search(Record.open(experiment, space, database), pack, deadline, launch)


def _start_ray_early(
    experiment: Experiment, launch: LaunchSettings
) -> "AbstractContextManager[None]":
    """Start Ray for a search that certainly needs it, and import other modules meanwhile."""
    from tune_encoder.tuning.cluster.connection import connected

    Thread(target=import_module, args=("tune_encoder.tuning.driver.launch",)).start()
    return connected(experiment, launch)


def accept_data(experiment: Experiment, settings: PackSettings) -> None:
    """Accept the data in its present state as that of the search."""
    content = experiment.read_search()
    data = open_pack(pack_data(Path(content["data_dir"]), settings))
    accepted: SearchFile = {
        **content,
        "fingerprint": data.info["fingerprint"],
        "copies": data.info.get("copies", {}),
        "voices": data.voice_kind("val"),
    }
    if "baselines" in content:
        folds = experiment.space().validation.folds
        check_folds(data, folds)
        accepted |= {"baselines": validation_of(data, folds).baselines, "voices": NEW}
    experiment.write_search(accepted)
