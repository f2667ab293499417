"""One launch of a search: Ray Tune around the record, until nothing is left or it is stopped."""

import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune

from tune_encoder.dashboards import LOOPBACK, open_pages, page_lines
from tune_encoder.errors import Interrupted, SearchFailed, StorageError
from tune_encoder.experiment import Experiment
from tune_encoder.lock import note
from tune_encoder.plan import n_workers
from tune_encoder.search.failures import Failures
from tune_encoder.search.progress import Progress
from tune_encoder.search.record import REPORTED, Record
from tune_encoder.search.schedulers import RecordingScheduler
from tune_encoder.search.searcher import StudySearcher
from tune_encoder.search.signals import StopSignal
from tune_encoder.search.steering import Steering
from tune_encoder.search.trial import run_trial
from tune_encoder.space import SearchSpace

_TOKEN_PATH = Path("~/.ray/auth_token")


def launch_search(record: Record, pack: Path, dashboard: bool = False) -> None:
    """Run what is left of the record's budget."""
    _protect_token()
    launch = _next_launch(record.experiment)
    scheduler = RecordingScheduler(record, launch)
    scheduler.replay()
    resources = record.space.resources
    shared = {
        "experiment": str(record.experiment.path.absolute()),
        "pack": str(pack),
        "cpus": resources.cpus,
        "processes": resources.processes_of_a_trial,
        "searched": [parameter.name for parameter in record.space.parameters],
    }
    if record.has_work():
        try:
            _start_ray(record.experiment, dashboard)
            workers = _workers(record.space, ray.cluster_resources())
            steering = Steering(record, scheduler, workers)
            searcher = StudySearcher(record, scheduler, steering, shared, workers)
            with _pages(record.experiment, dashboard):
                _fit(record, launch, searcher, scheduler, steering)
        finally:
            ray.shutdown()
    if record.best() is None:
        raise SearchFailed(_all_failed(record))


def _start_ray(experiment: Experiment, dashboard: bool) -> None:
    context = ray.init(
        include_dashboard=dashboard,
        dashboard_host=LOOPBACK,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )
    if dashboard:
        note(experiment.path, f"http://{context.dashboard_url}")


@contextmanager
def _pages(experiment: Experiment, dashboard: bool) -> Iterator[None]:
    if not dashboard:
        yield
        return
    with open_pages(experiment) as pages:
        print("\n".join(page_lines(pages)))  # noqa: T201
        yield


def _fit(
    record: Record,
    launch: str,
    searcher: StudySearcher,
    scheduler: RecordingScheduler,
    steering: Steering,
) -> None:
    """Run Tune until the searcher has nothing left or a signal comes."""
    experiment, resources = record.experiment, record.space.resources
    progress, stop = Progress(record), StopSignal(steering)
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
            callbacks=[progress, stop, Failures(scheduler, searcher), _Forget()],
            verbose=0,
        ),
    )
    try:
        with stop.listening():
            tuner.fit()
    finally:
        progress.close()
        _remove_tune_state(experiment.checkpoints / launch)
    _say_why_it_ended(experiment, scheduler.storage_problem, steering.stops, stop.number)


class _Forget(tune.Callback):
    """Frees Tune's running means of a trial that has ended: half of what one costs the driver."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()


def _say_why_it_ended(
    experiment: Experiment, storage_problem: str | None, asked: str, signal_number: int | None
) -> None:
    resume = f"go on with `{experiment.command('resume')}`"
    if storage_problem is not None:
        raise StorageError(f"{storage_problem}; then {resume}")
    if signal_number is not None:
        raise Interrupted(f"stopped, everything is saved; {resume}", signal_number)
    if asked:
        print(f"{asked}; {resume}")  # noqa: T201


def _workers(space: SearchSpace, present: dict[str, float]) -> int:
    """How many trials Ray can place at once; it counts GPUs and a container's CPUs.

    Raises:
        StorageError: if not one.
    """
    wanted = {"CPU": float(space.resources.cpus), "GPU": space.resources.gpus}
    for name, amount in wanted.items():
        if amount > present.get(name, 0):
            raise StorageError(
                f"resources.{name.lower()}s is {amount:g}, Ray finds {present.get(name, 0):g} "
                "here; lower it in the search space"
            )
    return n_workers(space.resources, int(present["CPU"]), int(present.get("GPU", 0)))


def _next_launch(experiment: Experiment) -> str:
    """Number this launch: each has its own folder, so that no checkpoint is ever overwritten."""
    earlier = (int(path.name) for path in experiment.checkpoints.glob("[0-9]*"))
    return str(1 + max(earlier, default=0))


def _trial_dirname(trial: Any) -> str:
    return f"{trial.config['number']:04d}"


def _remove_tune_state(folder: Path) -> None:
    """Remove Tune's pickles: the record replaces them, and nobody should open them."""
    if folder.is_dir():
        for path in (*folder.iterdir(), *folder.glob("*/*.pkl")):
            if path.is_file():
                path.unlink()


def _all_failed(record: Record) -> str:
    reasons = Counter(trial.reason for trial in record.trials.values() if trial.reason)
    told = [f"{reason} ({count} of them)" for reason, count in reasons.most_common()]
    return f"no trial of {record.experiment.name} gave a result: {'; '.join(told) or 'none ran'}"


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
