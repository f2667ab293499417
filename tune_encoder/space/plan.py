"""What a search will spend, before it is run: trials at each rung, epochs, time, disk.

The rungs are those of ideal successive halving, where every rung is full before the best of it go
on. A scheduler that decides earlier spends more.

Source: Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter
Optimization, AISTATS 2016, algorithm 1; for the brackets Li et al.: Hyperband, JMLR 2018.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tune_encoder.config import ResourceSettings, SchedulerSettings
from tune_encoder.space import SearchSpace

CONFIRMED_CONFIGS = 3  # of the best configs are trained again with further seeds
_HALVING = ("asha", "asha-promote", "hyperband")


@dataclass(frozen=True)
class Rung:
    """Where trials are compared, or end."""

    trials: int
    """How many come here."""
    epochs: int
    """Epochs each has behind it here."""
    spent: int
    """Epochs of all of them together since the rung before."""


@dataclass(frozen=True)
class Plan:
    """How many trials get how far."""

    brackets: list[list[Rung]]
    """Rungs of each group of trials; only hyperband has several groups."""
    trials: int
    epochs: int
    """Of a trial that is never stopped."""
    confirmations: int
    """Full runs with further seeds, at the end."""

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole search."""
        return sum(r.spent for b in self.brackets for r in b) + self.confirmations * self.epochs

    @property
    def full_epochs(self) -> int:
        """Epochs if no trial were stopped."""
        return (self.trials + self.confirmations) * self.epochs

    def seconds(self, per_epoch: float, workers: int) -> float:
        """Time on so many workers; a full trial, and a confirmation after it, runs on one."""
        one_after_another = self.epochs * (2 if self.confirmations else 1)
        return per_epoch * max(self.total_epochs / workers, one_after_another)

    def disk_bytes(self, checkpoint_bytes: int, keep: int) -> int:
        """Room for the checkpoints that are kept."""
        return (self.trials + self.confirmations) * keep * checkpoint_bytes


def plan_search(space: SearchSpace) -> Plan:
    """Return the plan of a search that nothing interrupts and that meets no time limit."""
    budget = space.budget
    trials = space.n_trials
    confirmations = (budget.seeds - 1) * min(CONFIRMED_CONFIGS, trials)
    brackets = _brackets(space, trials)
    return Plan(brackets, trials, budget.epochs, confirmations)


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
        trials: How many begin.
        ends: The epoch of each rung, and the last of all.
        factor: One in this many goes on, rounded down, but always one.
    """
    rungs = []
    for before, here in itertools.pairwise([0, *ends]):
        rungs.append(Rung(trials, here, trials * (here - before)))
        trials = max(1, int(trials / factor))
    return rungs


def rung_epochs(space: SearchSpace) -> list[int]:
    """Return the epochs at which any trials are compared, before the last of all.

    A scheduler that is no successive halving has none.
    """
    return sorted({epoch for rungs in bracket_rungs(space) for epoch in rungs})


def bracket_rungs(space: SearchSpace) -> list[list[int]]:
    """Return those epochs for each group of trials that is compared among itself."""
    scheduler, epochs = space.scheduler, space.budget.epochs
    if scheduler.name not in _HALVING:
        return [[]]
    return [halving_epochs(scheduler, epochs, i) for i in range(n_brackets(scheduler))]


def halving_epochs(scheduler: SchedulerSettings, epochs: int, bracket: int = 0) -> list[int]:
    """Return the epochs below `epochs` at which successive halving compares trials.

    Each rung is due `reduction_factor` times later than the one before, and is met at the next
    whole epoch; of several that are due at once, one is met each epoch, as Ray does.
    """
    start, found = first_rung(scheduler, bracket), [0]
    for power in itertools.count():
        due = start * scheduler.reduction_factor**power
        epoch = max(math.ceil(due), found[-1] + 1)
        if epoch >= epochs:
            break
        found.append(epoch)
    return found[1:]


def n_brackets(scheduler: SchedulerSettings) -> int:
    """How many groups of trials have rungs of their own."""
    return scheduler.brackets if scheduler.name == "hyperband" else 1


def first_rung(scheduler: SchedulerSettings, bracket: int) -> float:
    """Epochs after which a bracket's first rung is due, which may be no whole number."""
    return scheduler.grace_period * scheduler.reduction_factor**bracket


def n_concurrent_trials(resources: ResourceSettings, cpus: int, gpus: int) -> int:
    """How many trials run at once on a machine; 0 if it is too small for one."""
    fits = cpus // resources.cpus
    if resources.gpus:
        fits = min(fits, int(gpus / resources.gpus))
    return min(fits, resources.concurrent or fits)
