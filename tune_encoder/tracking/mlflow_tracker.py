"""Sends a search to an MLflow server: one run for it, and one within it for each trial.

The server itself says what it has: runs are found by the tags they were made with, and the epochs
of a run by its metrics. So nothing is sent twice, whenever either side was killed.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.tracking.tracked_search import (
    STAMP,
    TrackedSearch,
    begun_at,
    metrics,
    stamp,
    stamps,
    state_of_files,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_EXPERIMENT = "tune-encoder"  # of MLflow: what runs are in, if the environment names no other
_SEARCH, _TRIAL, _FILES = "tune_encoder.search", "tune_encoder.trial", "tune_encoder.files"
_PARENT = "mlflow.parentRunId"
_SOURCE = {"mlflow.source.name": "tune-encoder"}
_MOST_METRICS = 1000  # of one request
_LONGEST_TAG = 5000  # characters; servers refuse more
_PAGE = 1000  # runs of one answer
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; theirs is two minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # they wait longer each time; we try again anyway
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}


@dataclass
class _Run:
    """What the server has of a run."""

    id: str
    status: str = "RUNNING"
    ended: int | None = None
    """When it ended, in milliseconds since 1970."""
    params: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    last: float | None = None
    """Stamp of its last epoch."""
    sent: dict[int, float] | None = None
    """Stamp of each epoch; None if it has not been asked for yet."""


class MlflowTracker:
    """The runs of one search on a server."""

    def __init__(self, uri: str) -> None:
        self.name = f"MLflow at {uri}"
        self._uri = uri
        self._client: MlflowClient | None = None
        self._place = ""
        self._runs: dict[str, _Run] = {}

    @property
    def page(self) -> str:
        """Address of the search's run."""
        return f"{self._uri.rstrip('/')}/#/experiments/{self._place}/runs/{self._runs[''].id}"

    def send(self, search: TrackedSearch) -> None:
        """Send what the server does not have yet.

        Raises:
            Exception: whatever the client raises.
        """
        try:
            if self._client is None:
                self._connect(search)
            parent = self._send_search(search)
            for trial in search.trials:
                self._send_trial(search, trial, parent)
            self._send_files(search, parent)
        except Exception:
            self._client = None  # it may have done what it did not answer to: ask what it has
            raise

    def close(self) -> None:
        """Do nothing: there is no connection that stays."""

    def _connect(self, search: TrackedSearch) -> None:
        """Find the runs of the search, by one request for each thousand."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        client = MlflowClient(self._uri)
        self._place = _find_experiment(client)
        self._runs = {}
        for run in _find_runs(client, self._place, search):
            key, known = run.data.tags.get(_TRIAL, ""), _known_run(run)
            other = self._runs.setdefault(key, known)
            if other is not known:  # it was made twice, since an answer did not come
                kept, surplus = (other, known) if known.last is None else (known, other)
                self._runs[key] = kept
                client.delete_run(surplus.id)
        self._client = client

    @property
    def _server(self) -> "MlflowClient":
        assert self._client is not None
        return self._client

    def _send_search(self, search: TrackedSearch) -> _Run:
        run = self._runs.get("")
        bests = list(search.best_so_far())
        if run is None:
            started = min(filter(None, map(begun_at, search.trials)), default=None)
            run = self._create("", search.experiment.name, started, {_SEARCH: search.identity})
        if run.sent is None:
            run.sent = self._history(run)
        name = f"best_{search.space.metric.name}"
        rows = [
            (best.step, {name: best.value, STAMP: best.recorded_at})
            for best in bests
            if best.step > max(run.sent, default=0)
        ]
        self._log(run, rows, {}, search.tags())
        over = "FINISHED" if search.is_over else "KILLED"
        last = max((stamp(row) for trial in search.trials for row in trial.rows), default=None)
        self._set_status(run, "RUNNING" if search.is_running else over, last)
        return run

    def _send_trial(self, search: TrackedSearch, trial: TrialRecord, parent: _Run) -> None:
        run = self._trial_run(search, trial, parent)
        assert run.sent is not None
        sent = run.sent
        rows = [(row["epoch"], metrics(row)) for row in trial.rows if row["epoch"] not in sent]
        settings = {name: str(value) for name, value in trial.settings.items()}
        params = {name: value for name, value in settings.items() if name not in run.params}
        self._log(run, rows, params, search.trial_tags(trial))
        waits = "SCHEDULED" if trial.paused else "RUNNING"
        status = _STATUS.get(trial.state) or (waits if search.is_running else "KILLED")
        self._set_status(run, status, trial.ended_at)

    def _trial_run(self, search: TrackedSearch, trial: TrialRecord, parent: _Run) -> _Run:
        """Return the run of a trial; another one if an epoch that it has was trained again.

        A server keeps every value of a metric, so a run cannot be corrected.
        """
        key, recorded = str(trial.number), stamps(trial)
        run = self._runs.get(key)
        if run is not None:
            if run.sent is None:
                is_whole = bool(recorded) and run.last == recorded[max(recorded)]
                run.sent = recorded if is_whole else self._history(run)
            if run.sent.items() <= recorded.items():
                return run
            self._server.delete_run(run.id)
            del self._runs[key]
        tags = {_SEARCH: search.identity, _TRIAL: key, _PARENT: parent.id}
        return self._create(key, f"trial {key}", begun_at(trial), tags)

    def _create(self, key: str, name: str, started: float | None, tags: dict[str, str]) -> _Run:
        began = None if started is None else _milliseconds(started)
        made = self._server.create_run(self._place, began, {**tags, **_SOURCE}, name)
        run = self._runs[key] = _Run(made.info.run_id, tags=dict(tags), sent={})
        return run

    def _history(self, run: _Run) -> dict[int, float]:
        found = self._server.get_metric_history(run.id, STAMP)
        return {metric.step: metric.value for metric in found}

    def _log(
        self,
        run: _Run,
        rows: list[tuple[int, dict[str, float]]],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Send epochs, settings and tags; the server takes each request whole or not at all."""
        from mlflow.entities import Metric, Param, RunTag

        short = {name: value[:_LONGEST_TAG] for name, value in tags.items()}
        new_tags = {name: each for name, each in short.items() if run.tags.get(name, "") != each}
        more: Any = {
            "params": [Param(name, value) for name, value in params.items()],
            "tags": [RunTag(name, value) for name, value in new_tags.items()],
        }
        most = _MOST_METRICS // max((len(values) for _, values in rows), default=1)
        batches = [rows[at : at + most] for at in range(0, len(rows), most)]
        for batch in batches or ([[]] if params or new_tags else []):
            sent = [
                Metric(name, value, _milliseconds(values[STAMP]), step)
                for step, values in batch
                for name, value in values.items()
            ]
            self._server.log_batch(run.id, metrics=sent, **more)
            assert run.sent is not None
            run.sent.update((step, values[STAMP]) for step, values in batch)
            more = {}
        run.params |= params.keys()
        run.tags |= new_tags

    def _set_status(self, run: _Run, status: str, ended_at: float | None) -> None:
        ended = None if ended_at is None else _milliseconds(ended_at)
        if status in ("RUNNING", "SCHEDULED"):
            if status != run.status:
                self._server.update_run(run.id, status)
        elif status != run.status or ended not in (None, run.ended):
            self._server.set_terminated(run.id, status, ended)
            run.ended = ended
        run.status = status

    def _send_files(self, search: TrackedSearch, run: _Run) -> None:
        """Send what the search has left, unless the server has just that."""
        for name, path in search.files().items():
            tag, state = f"{_FILES}.{name}", state_of_files(path)
            if run.tags.get(tag) == state:
                continue
            if path.is_dir():
                self._server.log_artifacts(run.id, str(path), name)
            else:
                self._server.log_artifact(run.id, str(path))
            self._server.set_tag(run.id, tag, state)
            run.tags[tag] = state


def _find_experiment(client: "MlflowClient") -> str:
    """Return the ID of the experiment that the runs are in, which is made if it is not there."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):  # another search may just have made it
            return str(client.create_experiment(name))
        found = client.get_experiment_by_name(name)
        assert found is not None
    return str(found.experiment_id)


def _find_runs(client: "MlflowClient", place: str, search: TrackedSearch) -> Iterator[Any]:
    """Yield the runs of a search; a page is at most a thousand."""
    wanted = f"tags.`{_SEARCH}` = '{search.identity}'"
    token = None
    while True:
        page = client.search_runs([place], wanted, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _known_run(run: Any) -> _Run:
    """Return what an answer of the server says of a run."""
    info, data = run.info, run.data
    return _Run(
        info.run_id,
        info.status,
        info.end_time,
        {*data.params},
        {**data.tags},
        data.metrics.get(STAMP),
    )


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
