"""Who goes on, who waits at a rung, and who is stopped.

A rule hears of every recorded row, in order, and judges by the row's objective, of which less is
better. It holds no state of its own that matters: after a resume it hears the rows again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from tune_encoder.experiment.epoch_row import EpochRow, objective
from tune_encoder.space import SearchSpace
from tune_encoder.space.plan import first_rung, n_brackets, rung_epochs
from tune_encoder.tuning.record.record import METRIC

TIME_ATTR = "epoch"
_NO_CONTROLLER = SimpleNamespace(get_live_trials=list)  # the median rule asks for idle trials


class Decision(Enum):
    """What becomes of a trial after an epoch."""

    CONTINUE = "continue"
    PAUSE = "pause"
    """It waits without a worker until the rule promotes it."""
    STOP = "stop"


class EarlyStoppingRule:
    """Lets every trial use all its epochs; the others refine it."""

    def on_trial_start(self, number: int) -> None:
        """Note a trial that starts."""

    def on_result(self, number: int, row: EpochRow) -> Decision:
        """Decide after a trial's epoch."""
        return Decision.CONTINUE

    def promote(self, paused: Collection[int], running: Collection[int]) -> int | None:
        """Choose a trial that waits and may go on, now that no new one can be started.

        Args:
            paused: The trials that wait at a rung.
            running: The trials under way.
        """
        return None


@dataclass(frozen=True)
class _TrialKey:
    """All that Ray's schedulers need of a trial; its id is the record's number."""

    trial_id: str


class RayRule(EarlyStoppingRule):
    """One of Ray's schedulers, or one for each bracket of a Hyperband."""

    def __init__(self, brackets: list[TrialScheduler], factor: float) -> None:
        self._brackets: list[Any] = list(brackets)  # typed by Ray for its own trials
        self._factor = factor

    def on_trial_start(self, number: int) -> None:
        """Note a trial that starts."""
        self._bracket(number).on_trial_add(_NO_CONTROLLER, _TrialKey(f"{number}"))

    def on_result(self, number: int, row: EpochRow) -> Decision:
        """Decide as Ray does."""
        scheduler = self._bracket(number)
        decision = scheduler.on_trial_result(_NO_CONTROLLER, _TrialKey(f"{number}"), row)
        return Decision.STOP if decision == TrialScheduler.STOP else Decision.CONTINUE

    def _bracket(self, number: int) -> Any:
        """Each bracket gets its factor's share fewer trials than the one before it.

        Ray spreads trials over brackets at random, so a resumed search could decide otherwise.
        """
        last = len(self._brackets) - 1
        shares = (round(self._factor**k) for k in range(last, 0, -1))
        skipped = next((k for k, share in enumerate(shares) if (number + 1) % share == 0), last)
        return self._brackets[last - skipped]


class PromotionRule(EarlyStoppingRule):
    """Successive halving that holds every trial at each rung and promotes the best when known.

    Of N trials that reach a rung the best N / factor go on, and at least one. A trial is promoted
    as soon as it is among them whatever the outstanding ones bring; so no epoch is ever spent on a
    loser, with any number of workers. The rungs are those of Jamieson and Talwalkar,
    "Non-stochastic best arm identification and hyperparameter optimization", 2016.
    """

    def __init__(self, rungs: Sequence[int], factor: float) -> None:
        self._factor = factor
        self._rungs = rungs
        self._values_at: list[dict[int, float]] = [{} for _ in rungs]
        self._epochs: dict[int, int] = {}

    def on_result(self, number: int, row: EpochRow) -> Decision:
        """Hold a trial that has reached a rung."""
        self._epochs[number] = row["epoch"]
        if row["epoch"] not in self._rungs:
            return Decision.CONTINUE
        self._values_at[self._rungs.index(row["epoch"])][number] = objective(row)
        return Decision.PAUSE

    def promote(self, paused: Collection[int], running: Collection[int]) -> int | None:
        """Choose the best trial of the highest rung that has a place nobody can take from it.

        One that waits between two rungs, where an older version had one, is chosen first: it was
        among the best of the rung before, and is compared at the next.
        """
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
        """Rungs that a trial has reached."""
        return sum(number in values for values in self._values_at)


def make_rule(space: SearchSpace) -> EarlyStoppingRule:
    """Return the rule of a space."""
    settings, epochs = space.scheduler, space.budget.epochs
    factor = settings.reduction_factor
    if settings.name == "none":
        return EarlyStoppingRule()
    if settings.name == "asha-promote":
        return PromotionRule(rung_epochs(space), factor)
    if settings.name == "median":
        return RayRule(
            [MedianStoppingRule(TIME_ATTR, METRIC, "min", settings.grace_period)], factor
        )
    starts = [first_rung(settings, k) for k in range(n_brackets(settings))]
    return RayRule([_halving(min(start, epochs), epochs, factor) for start in starts], factor)


def _halving(grace_period: float, epochs: int, factor: float) -> TrialScheduler:
    return AsyncHyperBandScheduler(
        time_attr=TIME_ATTR,
        metric=METRIC,
        mode="min",
        # One more than the last epoch, so that the trial ends by itself.
        max_t=epochs + 1,
        grace_period=grace_period,  # type: ignore[arg-type]  # a factor, which may be no whole one
        reduction_factor=factor,
    )
