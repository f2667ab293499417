"""Early-stopping rules: which trials continue, which pause at a rung, and which are stopped.

A rule gets every recorded row, in order, and compares the rows' objectives, of which lower is
better. Its state need not be saved: after a resume the recorded rows are replayed. A trial may also
end by its own patience (`training.state.is_finished`); `RecordingScheduler` carries out what is
decided here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from tune_encoder.experiment.epoch_row import EpochRow, objective
from tune_encoder.space import SearchSpace
from tune_encoder.space.plan import rung_epochs
from tune_encoder.tuning.record.record import METRIC

TIME_ATTR = "epoch"
_NO_CONTROLLER = SimpleNamespace(get_live_trials=list)  # the median rule asks for idle trials


class Decision(Enum):
    """What happens to a trial after an epoch."""

    CONTINUE = "continue"
    PAUSE = "pause"
    """The trial waits without a worker until the rule promotes it."""
    STOP = "stop"


class EarlyStoppingRule:
    """Lets every trial use all its epochs; the base class of the other rules."""

    def on_trial_start(self, number: int) -> None:
        """Register a trial that starts."""

    def on_result(self, number: int, row: EpochRow) -> Decision:
        """Decide what happens to a trial after an epoch."""
        return Decision.CONTINUE

    def promote(
        self, paused: Collection[int], running: Collection[int], *, may_start: bool
    ) -> int | None:
        """Choose a paused trial to promote before a new one is started, or None.

        Args:
            paused: The trials that are paused at a rung.
            running: The trials that are running.
            may_start: Whether a new trial may be started.
        """
        return None


@dataclass(frozen=True)
class _TrialKey:
    """The part of a trial that Ray's schedulers need; its id is the trial's number."""

    trial_id: str


class RayRule(EarlyStoppingRule):
    """Decides with one of Ray's schedulers, or with one for each bracket of Hyperband."""

    def __init__(self, brackets: list[TrialScheduler], factor: float) -> None:
        self._brackets: list[Any] = list(brackets)  # typed by Ray for its own trials
        self._factor = factor

    def on_trial_start(self, number: int) -> None:
        """Register a trial that starts."""
        self._bracket(number).on_trial_add(_NO_CONTROLLER, _TrialKey(f"{number}"))

    def on_result(self, number: int, row: EpochRow) -> Decision:
        """Decide as Ray's scheduler does."""
        scheduler = self._bracket(number)
        decision = scheduler.on_trial_result(_NO_CONTROLLER, _TrialKey(f"{number}"), row)
        return Decision.STOP if decision == TrialScheduler.STOP else Decision.CONTINUE

    def _bracket(self, number: int) -> Any:
        """Return the scheduler of a trial; each further bracket gets 1/factor as many.

        Ray assigns trials to brackets at random, so a resumed search could decide differently.
        """
        last = len(self._brackets) - 1
        shares = (round(self._factor**k) for k in range(last, 0, -1))
        skipped = next((k for k, share in enumerate(shares) if (number + 1) % share == 0), last)
        return self._brackets[last - skipped]


class PromotionRule(EarlyStoppingRule):
    """Successive halving that pauses every trial at each rung and promotes the best when known.

    Of N trials that reach a rung, the best N / factor are promoted, and at least one. A trial is
    promoted as soon as it is certain to be among them, whatever the results of the outstanding
    trials; so with any number of workers no epoch is wasted. The rungs are those of Jamieson and
    Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016.
    """

    def __init__(self, rungs: Sequence[int], factor: float) -> None:
        self._factor = factor
        self._rungs = rungs
        self._values_at: list[dict[int, float]] = [{} for _ in rungs]
        self._epochs: dict[int, int] = {}

    def on_result(self, number: int, row: EpochRow) -> Decision:
        """Pause a trial that has reached a rung."""
        self._epochs[number] = row["epoch"]
        if row["epoch"] not in self._rungs:
            return Decision.CONTINUE
        self._values_at[self._rungs.index(row["epoch"])][number] = objective(row)
        return Decision.PAUSE

    def promote(
        self, paused: Collection[int], running: Collection[int], *, may_start: bool
    ) -> int | None:
        """Choose the best trial of the highest rung that is certain to be promoted there.

        New trials are started first: what they reach is not certain before.

        One that waits between two rungs, where an older version had one, is chosen first: it was
        among the best of the rung before, and is compared at the next.
        """
        if may_start:
            return None
        between = next((n for n in paused if self._epochs[n] not in self._rungs), None)
        if between is not None:
            return between
        chosen = None
        outstanding = 0  # trials that may yet reach the rung
        for rung, values in enumerate(self._values_at):
            outstanding += sum(self._n_rungs(number) == rung for number in running)
            places = max(1, int((len(values) + outstanding) / self._factor))
            ranked = sorted(values, key=lambda number: (values[number], number))
            waiting = [n for n in ranked[:places] if n in paused and self._n_rungs(n) == rung + 1]
            sure = ranked[: max(0, places - outstanding)]
            chosen = next((number for number in waiting if number in sure), chosen)
            outstanding += len(waiting)
        return chosen

    def _n_rungs(self, number: int) -> int:
        """Return how many rungs a trial has reached."""
        return sum(number in values for values in self._values_at)


class PromoteFirstRule(PromotionRule):
    """Successive halving that promotes a paused trial before a new one is started.

    Of N trials that have reached a rung so far, the best N / factor are promoted, rounded down; the
    highest rung that has one comes first. This does not wait for outstanding trials, so some are
    promoted that are not among the best in the end. When no new trial may start and none can be
    promoted in this way, the best are promoted as in `PromotionRule`, so that at least one trial
    uses all its epochs.

    Source: Li et al.: A System for Massively Parallel Hyperparameter Tuning, MLSys 2020,
    algorithm 2.
    """

    def promote(
        self, paused: Collection[int], running: Collection[int], *, may_start: bool
    ) -> int | None:
        """Choose the best paused trial of the highest rung where one is among the best so far."""
        for values in reversed(self._values_at):
            places = int(len(values) / self._factor)
            ranked = sorted(values, key=lambda number: (values[number], number))
            waiting = [n for n in ranked[:places] if n in paused and self._waits_at(n, values)]
            if waiting:
                return waiting[0]
        return super().promote(paused, running, may_start=may_start)

    def _waits_at(self, number: int, values: dict[int, float]) -> bool:
        """Whether this is the last rung that a trial has reached."""
        return values is self._values_at[self._n_rungs(number) - 1]


def make_rule(space: SearchSpace) -> EarlyStoppingRule:
    """Return the early-stopping rule of a space.

    The names, and which of them have rungs, are in `config.search.SchedulerSettings`.
    """
    settings, epochs = space.scheduler, space.budget.epochs
    factor = settings.reduction_factor
    if settings.name == "none":
        return EarlyStoppingRule()
    if settings.name == "asha-promote":
        return PromotionRule(rung_epochs(space), factor)
    if settings.name == "promote":
        return PromoteFirstRule(rung_epochs(space), factor)
    if settings.name == "median":
        return RayRule(
            [MedianStoppingRule(TIME_ATTR, METRIC, "min", settings.grace_period)], factor
        )
    if settings.name not in ("asha", "hyperband"):
        raise NotImplementedError(f"scheduler.name is {settings.name}, which has no rule here")
    starts = [settings.first_rung(k) for k in range(settings.n_brackets)]
    return RayRule([_halving(min(start, epochs), epochs, factor) for start in starts], factor)


def _halving(grace_period: float, epochs: int, factor: float) -> TrialScheduler:
    return AsyncHyperBandScheduler(
        time_attr=TIME_ATTR,
        metric=METRIC,
        mode="min",
        # One more than the last epoch, so that the trial ends by itself.
        max_t=epochs + 1,
        grace_period=grace_period,  # type: ignore[arg-type]  # may be a fraction
        reduction_factor=factor,
    )
