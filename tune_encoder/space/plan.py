"""What a search will spend, before it is run: trials at each rung, epochs, time, disk.

The rungs are those of ideal successive halving, where every rung is full before the best of it go
on. A scheduler that decides earlier spends more.

Source: Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter
Optimization, AISTATS 2016, algorithm 1; for the brackets Li et al.: Hyperband, JMLR 2018.
"""

import math
from dataclasses import dataclass

from tune_encoder.config import ResourceSettings, SchedulerSettings
from tune_encoder.space import SearchSpace

CONFIRMED = 3  # of the best configs are trained again with further seeds
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
    confirmations = (budget.seeds - 1) * min(CONFIRMED, trials)
    brackets = _brackets(trials, space.scheduler, budget.epochs)
    return Plan(brackets, trials, budget.epochs, confirmations)


def _brackets(trials: int, scheduler: SchedulerSettings, epochs: int) -> list[list[Rung]]:
    if scheduler.name not in _HALVING:
        return [[Rung(trials, epochs, trials * epochs)]]
    count = scheduler.brackets if scheduler.name == "hyperband" else 1
    shares = [trials // count + (i < trials % count) for i in range(count)]
    factor = scheduler.reduction_factor
    return [
        halving(share, epochs, scheduler.grace_period * factor**i, factor)
        for i, share in enumerate(shares)
        if share
    ]


def halving(trials: int, epochs: int, grace_period: float, factor: float) -> list[Rung]:
    """Return the rungs of successive halving.

    Args:
        trials: How many begin.
        epochs: Of a trial that is never stopped.
        grace_period: Epochs before the first rung; each further rung comes `factor` times later.
        factor: One in this many goes on, rounded down, but always one.
    """
    rungs: list[Rung] = []
    before, reached = 0, grace_period
    while (here := math.ceil(reached)) < epochs:
        rungs.append(Rung(trials, here, trials * (here - before)))
        before, reached, trials = here, reached * factor, max(1, int(trials / factor))
    return [*rungs, Rung(trials, epochs, trials * (epochs - before))]


def n_workers(resources: ResourceSettings, cpus: int, gpus: int) -> int:
    """How many trials run at once on a machine; 0 if it is too small for one."""
    fits = cpus // resources.cpus
    if resources.gpus:
        fits = min(fits, int(gpus / resources.gpus))
    return min(fits, resources.concurrent or fits)
