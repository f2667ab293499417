"""One launch of a search: Ray Tune runs the record's trials until none is left or it is stopped."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from threading import Thread

import ray
from ray import tune
from ray.tune.experiment import Trial

from tune_encoder.config import LOCAL_LAUNCH, LaunchSettings
from tune_encoder.errors import SearchFailed, StorageError, TuneEncoderError
from tune_encoder.experiment.dashboards import dashboard_lines, open_dashboards
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import MAX_REFUSED, has_refused_all
from tune_encoder.space.listening import listening_of
from tune_encoder.system.afterwards import export_follows
from tune_encoder.system.deadline import Deadline
from tune_encoder.system.events import is_heard
from tune_encoder.system.formats import count_noun
from tune_encoder.tuning.cluster.capacity import Capacity, check_trial_fits, living_nodes
from tune_encoder.tuning.cluster.connection import connected
from tune_encoder.tuning.cluster.metrics import announced_metrics, exports_metrics
from tune_encoder.tuning.cluster.ray_patches import (
    named_workers,
    pass_no_variables,
    without_counted_callbacks,
)
from tune_encoder.tuning.cluster.watch import watching
from tune_encoder.tuning.driver.announcing import Announcer, announce_start
from tune_encoder.tuning.driver.callbacks import FailureRecorder, StopSignal
from tune_encoder.tuning.driver.gpu_memory import check_gpu_share
from tune_encoder.tuning.driver.known import KnownQuantities
from tune_encoder.tuning.driver.metrics import MetricsExporter
from tune_encoder.tuning.driver.progress import Progress
from tune_encoder.tuning.driver.recording_scheduler import RecordingScheduler
from tune_encoder.tuning.driver.searcher import StudySearcher
from tune_encoder.tuning.driver.steering import Steering, take_added_configs
from tune_encoder.tuning.record.record import REPORTED, Record
from tune_encoder.tuning.worker.actor import trial_worker
from tune_encoder.tuning.worker.settings import WorkerSettings
from tune_encoder.tuning.worker.trial import run_trial

_PENDING = "TUNE_MAX_PENDING_TRIALS_PG"
_NO_SNAPSHOT = "No experiment snapshot file"


def launch_search(
    record: Record, pack: Path, deadline: Deadline, settings: LaunchSettings = LOCAL_LAUNCH
) -> None:
    """Run what is left of the record's budget, on a local Ray or on a cluster.

    Args:
        record: The record.
        pack: Folder of the data's pack.
        deadline: Set when a signal comes; whoever leaves it has also ended Ray.
        settings: Where it runs.

    Raises:
        Interrupted, SearchFailed, StorageError: with everything saved.
    """
    launch = _next_launch(record)
    scheduler = RecordingScheduler(record, launch)
    scheduler.replay()
    take_added_configs(record)
    announce_start(record)
    if record.has_work():
        with connected(record.experiment, settings):
            capacity = Capacity(record.space.resources)
            check_trial_fits(record.space.resources, living_nodes())
            worker = _worker_settings(record, pack, launch)
            if not record.trials:
                check_gpu_share(record.space, worker)
            steering = Steering(record, scheduler, capacity)
            known = KnownQuantities(record.space, pack)
            searcher = StudySearcher(record, scheduler, steering, worker, capacity, known)
            asking = nullcontext() if settings.address else _unlimited_pending_trials()
            stop = StopSignal(steering, deadline, record.experiment, record.n_epochs)
            pages = _serve_pages(record.experiment, settings.dashboard)
            exporting = _export_metrics(record, settings.metrics)
            with _watched(stop, not settings.address), pages, asking, exporting as callbacks:
                _run_tune(record, launch, searcher, scheduler, steering, stop, callbacks)
    if record.has_tried_all() and not record.has_work():
        tried = count_noun(record.n_started(), "trial")
        print(f"every config of the space has been tried: {tried}")  # noqa: T201
    if record.best() is None:
        raise SearchFailed(_describe_failures(record))


def _worker_settings(record: Record, pack: Path, launch: str) -> WorkerSettings:
    resources, experiment = record.space.resources, record.experiment
    return WorkerSettings(
        experiment=experiment.path.absolute(),
        storage=experiment.storage,
        identity=experiment.identity(),
        launch=launch,
        pack=pack.absolute(),
        home=ray.get_runtime_context().get_node_id(),
        cpus=resources.cpus,
        processes=resources.processes_per_trial,
        folds=record.space.validation.folds,
        searched=(),  # depends on the trial
        measures=record.space.measures,
        listening=listening_of(record.space),
        steady_title=exports_metrics(),
    )


@contextmanager
def _watched(stop: StopSignal, is_own_ray: bool) -> Iterator[None]:
    """Stop if the cluster is lost; what Tune then raises for lack of it is not shown."""
    try:
        with watching(stop.give_up, is_own=is_own_ray):
            yield
    except TuneEncoderError:
        raise
    except Exception as error:
        if stop.lost:
            raise stop.error() from error
        raise


@contextmanager
def _serve_pages(experiment: Experiment, dashboard: bool) -> Iterator[None]:
    if not dashboard:
        yield
        return
    with open_dashboards(experiment) as dashboards:
        print("\n".join(dashboard_lines(dashboards)))  # noqa: T201
        yield


@contextmanager
def _export_metrics(record: Record, wanted: bool) -> Iterator[list[tune.Callback]]:
    """Export metrics while the block runs, if wanted; yields the callbacks that set them."""
    if not wanted:
        yield []
        return
    with announced_metrics() as address:
        print(f"metrics:   {address}", flush=True)  # noqa: T201
        exporter = MetricsExporter(record)
        yield [exporter]
        exporter.set_all()


@contextmanager
def _unlimited_pending_trials() -> Iterator[None]:
    """Make Tune create as many trials as run at once, instead of one after another.

    Only for a local Ray: on a shared cluster a trial might be pending for long.
    """
    wanted = os.environ.get(_PENDING)
    os.environ.setdefault(_PENDING, str(sys.maxsize))
    try:
        yield
    finally:
        if wanted is None:
            del os.environ[_PENDING]


def _run_tune(
    record: Record,
    launch: str,
    searcher: StudySearcher,
    scheduler: RecordingScheduler,
    steering: Steering,
    stop: StopSignal,
    callbacks: list[tune.Callback],
) -> None:
    """Run Tune until the searcher has nothing left, a signal comes, or the cluster is lost."""
    pass_no_variables()
    experiment, resources = record.experiment, record.space.resources
    progress = Announcer(record) if is_heard() else Progress(record)
    ahead = PreloadTorch(record.may_start, export_follows() or record.space.report.at_end)
    tuner = tune.Tuner(
        trial_worker(run_trial, {"cpu": resources.cpus, "gpu": resources.gpus}),
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
            callbacks=[
                progress,
                stop,
                FailureRecorder(scheduler, searcher, stop),
                _FreeEndedTrials(),
                ahead,
                *callbacks,
            ],
            verbose=0,
        ),
    )
    try:
        with stop.listening(), named_workers(experiment.name), without_counted_callbacks():
            tuner.fit()
    except Exception as error:
        # Tune too wants to write on the full disk. What it writes at the end, nobody reads.
        if scheduler.storage_problem is None and _NO_SNAPSHOT not in str(error):
            raise
    finally:
        progress.close()
        ahead.wait()
        _remove_tune_state(experiment.checkpoints / launch)
    _report_end(experiment, scheduler.storage_problem, steering, stop)
    if record.is_used_up():
        _report_used_up(record)
    if has_refused_all([*record.trials.values()]):
        print(  # noqa: T201
            f"the last {MAX_REFUSED} configs all break the constraints, so no more are drawn; "
            "widen the constraints or narrow the space in a copy of it, and `tune-encoder fork`"
        )


class _FreeEndedTrials(tune.Callback):
    """Frees what Tune keeps of an ended trial: its running means and copies of its config.

    They are half of the memory of a trial in the driver; nothing reads them again.
    """

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        trial.set_experiment_tag("")
        for name in ("config", "experiment_tag", "row"):
            trial.last_result.pop(name, None)


class PreloadTorch(tune.Callback):
    """Imports torch, for the report and the export, once a worker has nothing left to do."""

    def __init__(self, may_start: Callable[[], bool], needed: bool = True) -> None:
        self._may_start = may_start
        self._needed = needed
        self._thread: Thread | None = None

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: object, **info: object
    ) -> None:
        """Start the import if no trial is left to start."""
        if self._needed and self._thread is None and not self._may_start():
            self._thread = Thread(target=import_module, args=("torch",))
            self._thread.start()

    def wait(self) -> None:
        """Wait until the import has finished.

        Its thread may collect garbage, and if that contains Ray objects after Ray's shutdown, Ray
        kills the process.
        """
        if self._thread is not None:
            self._thread.join()


def _report_end(
    experiment: Experiment,
    storage_problem: str | None,
    steering: Steering,
    stop: StopSignal,
) -> None:
    command = f"{experiment.command('resume')} {steering.resume_options}".rstrip()
    resume = f"resume with `{command}`"
    if storage_problem is not None:
        raise StorageError(f"{storage_problem}; then {resume}")
    if stop.number is not None or stop.lost:
        raise stop.error()
    if steering.stop_reason:
        print(f"{steering.stop_reason}; {resume}")  # noqa: T201


def _report_used_up(record: Record) -> None:
    total = record.space.budget.total_epochs
    more = f"{record.experiment.command('resume')} --total-epochs {2 * total}"
    used = f"budget.total_epochs, {count_noun(total, 'epoch')}, is used up"
    print(f"{used}; for more, `{more}`")  # noqa: T201


def _next_launch(record: Record) -> str:
    """Number this launch; each has its own folder, so no checkpoint is ever overwritten."""
    begun = [path.name for path in record.experiment.checkpoints.glob("[0-9]*")]
    begun += [name.split("/")[0] for name in record.stored_checkpoints]
    return str(1 + max(map(int, begun), default=0))


def _trial_dirname(trial: Trial) -> str:
    return f"{trial.config['number']:04d}"


def _remove_tune_state(folder: Path) -> None:
    """Remove Tune's pickles, which the record replaces and which nobody should open."""
    if folder.is_dir():
        for path in (*folder.iterdir(), *folder.glob("*/*.pkl")):
            if path.is_file():
                path.unlink()


def _describe_failures(record: Record) -> str:
    trials = record.trials.values()
    reasons = Counter(t.reason for t in trials if t.reason and t.keeps_constraints)
    counted = [f"{why} ({count_noun(n, 'trial')})" for why, n in reasons.most_common()]
    if broken := [trial for trial in trials if not trial.keeps_constraints]:
        last = f", the last as {broken[-1].reason}" if broken[-1].reason else ""
        counted.append(f"{count_noun(len(broken), 'trial')} broke the constraints{last}")
    return f"no trial of {record.experiment.name} gave a result: {'; '.join(counted) or 'none ran'}"
