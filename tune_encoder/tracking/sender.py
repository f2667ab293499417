"""Sends a search to its trackers; what one of them does not take is sent later, from the record."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tune_encoder.config import TrackingSettings, from_mapping, to_mapping
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.damage import reason_of
from tune_encoder.system.lock import lock_experiment, lock_holder
from tune_encoder.tracking.mlflow_tracker import MlflowTracker
from tune_encoder.tracking.tracked_search import TrackedSearch
from tune_encoder.tracking.wandb_tracker import WandbTracker

TRACKING = "tracking"  # first word of a warning, and folder in an experiment's
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0  # after a failure, then twice as long each time
_LOCK_S = 45.0  # for what followed a killed launch to end, which it does after 40 s at the latest
_LOCK_POLL_S = 0.2


class Tracker(Protocol):
    """Where a search is sent."""

    name: str
    """For messages."""

    @property
    def page(self) -> str:
        """Where a person sees the search, once it was sent."""

    def send(self, search: TrackedSearch) -> None:
        """Send what is new; may raise whatever its client raises, and is then called again."""

    def close(self) -> None:
        """Wait until all is sent."""


def check_installed(tracking: TrackingSettings) -> None:
    """Raise a `ConfigError` if the client of a tracker is missing, naming the extra."""
    for name in ("mlflow", "wandb"):
        if getattr(tracking, name) and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"{name} is {getattr(tracking, name)}, but its client is not installed; install it "
                f"with `pip install 'tune-encoder[{name}]'`"
            )


def make_trackers(experiment: Experiment, tracking: TrackingSettings) -> list[Tracker]:
    """Return the trackers that are named; nothing is connected yet."""
    trackers: list[Tracker] = []
    if tracking.mlflow:
        trackers.append(MlflowTracker(tracking.mlflow))
    if tracking.wandb:
        trackers.append(WandbTracker(tracking.wandb, _tracking_folder(experiment)))
    return trackers


def reason(error: Exception) -> str:
    """Return in one short line why a client failed: what the network said, if it is that."""
    inner: BaseException = error
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    return reason_of(inner if isinstance(inner, OSError) else error)


@contextmanager
def only_sender(experiment: Experiment) -> Iterator[None]:
    """Wait until no other program sends the experiment, and let none while the block runs.

    Raises:
        StorageError: if another one goes on doing so.
    """
    deadline = time.monotonic() + _LOCK_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock_experiment(_tracking_folder(experiment)))
                break
            except StorageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOCK_POLL_S)
        yield


def _tracking_folder(experiment: Experiment) -> Path:
    folder = experiment.path / TRACKING
    folder.mkdir(exist_ok=True)
    return folder


@dataclass
class PatientTracker:
    """A tracker that is left alone for a while after it has failed."""

    tracker: Tracker
    warn: Callable[[Tracker, str], None]
    """Told the reason of a failure."""
    _wait_s: float = 0.0
    _again_at: float = 0.0

    def send(self, search: TrackedSearch) -> bool:
        """Send what is new, unless it is too soon after a failure; returns whether that is done."""
        return time.monotonic() >= self._again_at and self._try(lambda: self.tracker.send(search))

    def close(self) -> None:
        """Wait until all is sent, unless the last attempt has failed."""
        if not self._wait_s:
            self._try(self.tracker.close)

    def _try(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except Exception as error:  # noqa: BLE001  (of its client, of its server, of the network)
            self._wait_s = min(_LONGEST_WAIT_S, max(_FIRST_WAIT_S, 2 * self._wait_s))
            self._again_at = time.monotonic() + self._wait_s
            self.warn(self.tracker, reason(error))
            return False
        self._wait_s = 0.0
        return True


def send_search(
    experiment: Experiment, mlflow: str | None = None, wandb: str | None = None
) -> list[str]:
    """Send all of a search, and return where a person sees it in each tracker.

    Args:
        experiment: The search; it may be running.
        mlflow: Address of MLflow.
        wandb: Project of Weights & Biases. With None for both, the search's own trackers.

    Raises:
        ConfigError: if no tracker is named, or a client is not installed.
        StorageError: if a tracker does not take it, or another program is sending it.
    """
    tracking = _chosen(experiment, {"mlflow": mlflow, "wandb": wandb})
    check_installed(tracking)
    running = lock_holder(experiment.path) is not None
    pages = []
    with only_sender(experiment):
        search = TrackedSearch.read(experiment, is_running=running, has_results=not running)
        for tracker in make_trackers(experiment, tracking):
            try:
                tracker.send(search)
                tracker.close()
            except Exception as error:
                raise StorageError(f"{tracker.name}: {reason(error)}; try again later") from error
            pages.append(tracker.page)
    return pages


def _chosen(experiment: Experiment, given: dict[str, str | None]) -> TrackingSettings:
    stored = to_mapping(experiment.space().tracking)
    chosen = {name: value for name, value in given.items() if value is not None} or stored
    tracking = from_mapping(TrackingSettings, chosen, "command line")
    if not tracking.is_wanted:
        raise ConfigError(
            f"{experiment.name} names no tracker; add --mlflow http://HOST:PORT or --wandb PROJECT"
        )
    return tracking
