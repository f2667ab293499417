"""Who is stopped early, and the door through which every result enters the record.

A scheduler is the first in Tune to see a result and the one to decide on it. So ours records the
row, asks Ray's scheduler for its decision, and records that too: nothing can fall between them.
"""

from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from tune_encoder.config import SchedulerSettings
from tune_encoder.search.study import METRIC, Record

TIME = "epoch"


@dataclass(frozen=True)
class Key:
    """All that Ray's schedulers need of a trial; its id is the record's number."""

    trial_id: str


class RecordingScheduler(FIFOScheduler):
    """Records every result, then does what the scheduler within decides."""

    def __init__(self, record: Record, launch: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._record = record
        self._launch = launch
        self.storage_problem: str | None = None
        """What a worker could not read or write; the search then ends."""
        # Ray's schedulers are typed for its own trials; a key has all that they read.
        self._within: Any = make_scheduler(record.space.scheduler, record.space.budget.epochs)

    def has_storage_problem(self) -> bool:
        """Whether a worker met a storage problem."""
        return self.storage_problem is not None

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept Tune's metric; the scheduler within has its own."""
        return True

    def replay(self) -> None:
        """Rebuild the rungs from the record, in the order in which the rows came.

        A trial whose last row was recorded but not decided on, because the program was killed in
        between, is decided on now.
        """
        for number in self._record.trials:
            self._within.on_trial_add(None, _key(number))
        for number, row in self._record.rows_in_order():
            decision = self._within.on_trial_result(None, _key(number), row)
            trial = self._record.trials[number]
            if trial.state == "RUNNING" and row is trial.rows[-1]:
                self._end(number, row, decision)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tell the scheduler within of a trial that it does not know from a replay."""
        number = trial.config["number"]
        if not self._record.trials[number].rows:
            self._within.on_trial_add(tune_controller, _key(number))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Record a row and decide whether its trial goes on."""
        number = trial.config["number"]
        if self._record.trials[number].state != "RUNNING":
            return str(TrialScheduler.STOP)
        if result.get("storage"):
            self.storage_problem = result["storage"]
            return str(TrialScheduler.STOP)
        if result.get("failure"):
            self._record.fail(number, result["failure"])
            return str(TrialScheduler.STOP)
        row = self._row(trial.storage.trial_dir_name, result)
        recorded = self._record.add_row(number, row)
        if recorded is None:
            return str(TrialScheduler.CONTINUE)
        decision = self._within.on_trial_result(tune_controller, _key(number), recorded)
        decision = self._end(number, recorded, decision)
        self._record.experiment.drop_old_checkpoints(self._record.trials[number])
        return decision

    def _row(self, trial_folder: str, result: dict[str, Any]) -> dict[str, Any]:
        row = {name[4:]: value for name, value in result.items() if name.startswith("row/")}
        if folder := result.get("checkpoint_dir_name"):
            row["checkpoint"] = f"{self._launch}/{trial_folder}/{folder}"
        return row

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Do nothing: Tune may start the trial again; `Failures` is told when it does not."""

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Do nothing: whatever ended was recorded with its result."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Do nothing: a trial that is removed unfinished goes on at the next resume."""

    def _end(self, number: int, row: dict[str, Any], decision: str) -> str:
        if row["finished"]:
            self._record.complete(number)
            return str(TrialScheduler.STOP)
        if decision == TrialScheduler.STOP:
            self._record.prune(number)
        return decision


def _key(number: int) -> Key:
    return Key(f"{number}")


def make_scheduler(settings: SchedulerSettings, epochs: int) -> TrialScheduler:
    """Return Ray's scheduler of that name.

    One bracket only: Ray spreads trials over brackets at random, and more of them let poor trials
    run on.
    """
    if settings.name == "none":
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        time_attr=TIME,
        metric=METRIC,
        mode="min",
        # One more than the last epoch, so that the trial ends by itself.
        max_t=epochs + 1,
        grace_period=min(settings.grace_period, epochs),
        reduction_factor=settings.reduction_factor,
    )
