"""Launch and resume searches: the record, Ray Tune around it, and what a signal does."""

import logging
import os
import secrets
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack, pack_data
from tune_encoder.errors import Interrupted, SearchFailed, StorageError
from tune_encoder.experiment import (
    Experiment,
    create_experiment,
    open_experiment,
    refuse_taken,
)
from tune_encoder.lock import held
from tune_encoder.search.study import REPORTED, Record
from tune_encoder.space import SearchSpace, parse_space, to_content

_TOKEN_PATH = Path("~/.ray/auth_token")


def start_search(space: SearchSpace, data_dir: Path, root: Path, name: str) -> Experiment:
    """Run a new search to its end.

    Args:
        space: What to search.
        data_dir: A data set in the guide's layout; checked and packed before anything starts.
        root: Folder of experiments.
        name: The new experiment.

    Raises:
        ConfigError, DataError, StorageError: before Ray starts.
        SearchFailed: if no trial gave a result.
        Interrupted: on Ctrl-C or SIGTERM, everything saved.
    """
    refuse_taken(root, name)
    check_resources(space)
    pack = pack_data(data_dir, TrainConfig(**space.base))
    content = {
        "space": to_content(space),
        "data_dir": str(data_dir.resolve()),
        "fingerprint": open_pack(pack).info["fingerprint"],
        "versions": versions(),
    }
    experiment = create_experiment(root, name, content)
    with held(experiment.path):
        _launch(Record.open(experiment, space), pack)
    return experiment


def resume_search(root: Path, name: str) -> Experiment:
    """Go on with a search that was stopped or killed; a finished one is left as it is.

    Raises:
        StorageError: if the data has changed, or another process holds the experiment.
    """
    experiment = open_experiment(root, name)
    with held(experiment.path):
        content = experiment.search()
        where = f"{experiment.path / 'search.yaml'}, space"
        space = parse_space(content["space"], where, experiment.path)
        check_resources(space)
        data_dir = Path(content["data_dir"])
        pack = pack_data(data_dir, TrainConfig(**space.base))
        if open_pack(pack).info["fingerprint"] != content["fingerprint"]:
            raise StorageError(
                f"{data_dir}: not the data this search began with; restore it or search anew"
            )
        _launch(Record.open(experiment, space), pack)
    return experiment


def versions() -> dict[str, str]:
    """Return the versions a result may depend on."""
    return {name: version(name) for name in ("tune-encoder", "torch", "ray", "optuna", "numpy")}


def check_resources(space: SearchSpace) -> None:
    """Refuse a trial the machine can never run; Ray would wait for ever."""
    wanted, present = space.resources.cpus, os.cpu_count() or 1
    if wanted > present:
        raise StorageError(
            f"resources.cpus is {wanted}, this machine has {present}; lower it in the search space"
        )


def _launch(record: Record, pack: Path) -> None:
    """Run what is left of the record's budget."""
    _protect_token()
    import ray

    from tune_encoder.search.schedulers import RecordingScheduler
    from tune_encoder.search.searcher import StudySearcher

    launch = _next_launch(record.experiment)
    scheduler = RecordingScheduler(record, launch)
    scheduler.replay()
    shared = {
        "experiment": str(record.experiment.path.absolute()),
        "pack": str(pack),
        "cpus": record.space.resources.cpus,
        "processes": record.space.resources.processes_of_a_trial,
    }
    searcher = StudySearcher(record, shared, _concurrent(record.space))
    if searcher.has_work():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
            _check_cluster(record.space, ray.cluster_resources())
            _fit(record, launch, searcher, scheduler)
        finally:
            ray.shutdown()
    if record.best() is None:
        raise SearchFailed(_all_failed(record))


def _fit(record: Record, launch: str, searcher: Any, scheduler: Any) -> None:
    """Run Tune until the searcher has nothing left or a signal comes."""
    from ray import tune

    from tune_encoder.search.failures import Failures
    from tune_encoder.search.progress import Progress
    from tune_encoder.search.signals import StopSignal
    from tune_encoder.search.trial import run_trial

    experiment, resources = record.experiment, record.space.resources
    progress, stop = Progress(record), StopSignal(also_when=scheduler.has_storage_problem)
    tuner = tune.Tuner(
        tune.with_resources(run_trial, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            metric=REPORTED,
            mode="min",
            num_samples=-1,  # until the searcher has nothing left
            search_alg=searcher,
            scheduler=scheduler,
            reuse_actors=True,
            trial_dirname_creator=_trial_dirname,
        ),
        run_config=tune.RunConfig(
            name=launch,
            storage_path=str(experiment.checkpoints.absolute()),
            failure_config=tune.FailureConfig(max_failures=resources.retries),
            callbacks=[progress, stop, Failures(record, searcher)],
            verbose=0,
        ),
    )
    try:
        with stop.listening():
            tuner.fit()
    finally:
        progress.close()
        _remove_tune_state(experiment.checkpoints / launch)
    if scheduler.storage_problem is not None:
        raise StorageError(
            f"{scheduler.storage_problem}; then go on with `{experiment.command('resume')}`"
        )
    if stop.number is not None:
        raise Interrupted(
            f"stopped, everything is saved; go on with `{experiment.command('resume')}`",
            stop.number,
        )


def _check_cluster(space: SearchSpace, present: dict[str, float]) -> None:
    """Refuse a trial that Ray could never place; it counts GPUs and a container's CPUs."""
    wanted = {"CPU": float(space.resources.cpus), "GPU": space.resources.gpus}
    for name, amount in wanted.items():
        if amount > present.get(name, 0):
            raise StorageError(
                f"resources.{name.lower()}s is {amount:g}, Ray finds {present.get(name, 0):g} "
                "here; lower it in the search space"
            )


def _next_launch(experiment: Experiment) -> str:
    """Number this launch: each has its own folder, so that no checkpoint is ever overwritten."""
    earlier = (int(path.name) for path in experiment.checkpoints.glob("[0-9]*"))
    return str(1 + max(earlier, default=0))


def _trial_dirname(trial: Any) -> str:
    return f"{trial.config['number']:04d}"


def _concurrent(space: SearchSpace) -> int:
    fits = max(1, (os.cpu_count() or 1) // space.resources.cpus)
    return min(fits, space.resources.concurrent or fits)


def _remove_tune_state(folder: Path) -> None:
    """Remove Tune's pickles: the record replaces them, and nobody should open them."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_file():
                path.unlink()


def _all_failed(record: Record) -> str:
    reasons = sorted({trial.reason for trial in record.trials.values() if trial.reason})
    return f"no trial of {record.experiment.name} gave a result: {'; '.join(reasons)}"


def _protect_token() -> None:
    """Make Ray's token before Ray does, which would let every local user read it."""
    path = _TOKEN_PATH.expanduser()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists():
        path.chmod(0o600)
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
