"""What a search will cost, estimated before it runs: trials at each rung, epochs, time, disk space.

The rungs are those of ideal successive halving, where the best trials of a rung are promoted once
the rung is full. A scheduler that decides earlier needs more epochs.

Source: Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter
Optimization, AISTATS 2016, algorithm 1; for the brackets Li et al.: Hyperband, JMLR 2018.
"""

import itertools
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from tune_encoder.config import CONFIRMED_CONFIGS, ResourceSettings, SchedulerSettings
from tune_encoder.space.space import SearchSpace


@dataclass(frozen=True)
class Rung:
    """An epoch at which trials are compared, or end."""

    trials: int
    """Number of trials that reach it."""
    epochs: int
    """Epochs that each of them has finished there."""
    spent: int
    """Epochs of all of them together since the previous rung."""


@dataclass(frozen=True)
class Plan:
    """How many trials reach which rung."""

    brackets: list[list[Rung]]
    """Rungs of each bracket; only hyperband has several brackets."""
    trials: int
    epochs: int
    """Epochs of a trial that is not stopped early."""
    confirmations: int
    """Full runs with further seeds at the end."""

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole search."""
        return sum(r.spent for b in self.brackets for r in b) + self.confirmations * self.epochs

    @property
    def full_epochs(self) -> int:
        """Epochs if no trial were stopped early."""
        return (self.trials + self.confirmations) * self.epochs

    def seconds(self, per_epoch: float, workers: int) -> float:
        """Time with this many workers; a full trial, and then a confirmation, runs on one."""
        one_after_another = self.epochs * (2 if self.confirmations else 1)
        return per_epoch * max(self.total_epochs / workers, one_after_another)

    def disk_bytes(self, checkpoint_bytes: int, keep: int) -> int:
        """Disk space of the checkpoints that are kept."""
        return (self.trials + self.confirmations) * keep * checkpoint_bytes


def plan_search(space: SearchSpace) -> Plan:
    """Return the plan of a search that is not interrupted and reaches no time limit."""
    budget = space.budget
    trials = _n_trials(space)
    confirmations = (budget.seeds - 1) * min(CONFIRMED_CONFIGS, trials)
    brackets = _brackets(space, trials)
    return Plan(brackets, trials, budget.epochs, confirmations)


def _n_trials(space: SearchSpace) -> int:
    """The most trials of the space's that together need no more than `total_epochs`."""
    if not (total := space.budget.total_epochs):
        return space.n_trials

    def costs_more(trials: int) -> bool:
        return sum(rung.spent for rungs in _brackets(space, trials) for rung in rungs) > total

    return max(1, bisect_left(range(1, space.n_trials + 1), True, key=costs_more))


def _brackets(space: SearchSpace, trials: int) -> list[list[Rung]]:
    rungs = bracket_rungs(space)
    shares = [trials // len(rungs) + (i < trials % len(rungs)) for i in range(len(rungs))]
    epochs, factor = space.budget.epochs, space.scheduler.reduction_factor
    return [
        successive_halving(share, [*own, epochs], factor)
        for own, share in zip(rungs, shares, strict=True)
        if share
    ]


def successive_halving(trials: int, ends: Sequence[int], factor: float) -> list[Rung]:
    """Return the rungs of successive halving.

    Args:
        trials: Number of trials that start.
        ends: The epoch of each rung, then the last epoch.
        factor: One in this many is promoted, rounded down, but at least one.
    """
    rungs = []
    for before, here in itertools.pairwise([0, *ends]):
        rungs.append(Rung(trials, here, trials * (here - before)))
        trials = max(1, int(trials / factor))
    return rungs


def rung_epochs(space: SearchSpace) -> list[int]:
    """Return the epochs before the last at which any trials are compared.

    A scheduler without successive halving has none.
    """
    return sorted({epoch for rungs in bracket_rungs(space) for epoch in rungs})


def bracket_rungs(space: SearchSpace) -> list[list[int]]:
    """Return the rung epochs of each bracket, whose trials are compared with each other."""
    scheduler, epochs = space.scheduler, space.budget.epochs
    if not scheduler.has_rungs:
        return [[]]
    return [halving_epochs(scheduler, epochs, i) for i in range(scheduler.n_brackets)]


def halving_epochs(scheduler: SchedulerSettings, epochs: int, bracket: int = 0) -> list[int]:
    """Return the epochs below `epochs` at which successive halving compares trials.

    Each rung is due `reduction_factor` times later than the previous one, and takes place at the
    next whole epoch; if several are due at once, there is one per epoch, as in Ray.
    """
    start, found = scheduler.first_rung(bracket), [0]
    for power in itertools.count():
        due = start * scheduler.reduction_factor**power
        epoch = max(math.ceil(due), found[-1] + 1)
        if epoch >= epochs:
            break
        found.append(epoch)
    return found[1:]


def n_concurrent_trials(resources: ResourceSettings, cpus: int, gpus: int) -> int:
    """Return how many trials run at once on a machine; 0 if it is too small for one."""
    fits = cpus // resources.cpus
    if resources.gpus:
        fits = min(fits, int(gpus / resources.gpus))
    return min(fits, resources.concurrent or fits)
