"""The Pareto front of a search with two metrics: the trials of which no other is better in both."""

from collections.abc import Sequence
from typing import TypedDict

from tune_encoder.config import better_direction
from tune_encoder.experiment.epoch_row import EpochRow, score_of
from tune_encoder.experiment.trials import TrialRecord, rank_trials
from tune_encoder.space import SearchSpace
from tune_encoder.system.formats import count_noun


class FrontPoint(TypedDict):
    """A trial of the front."""

    trial: int
    """Its number."""
    epoch: int
    """Its best epoch by the first metric, at which both are taken."""
    values: dict[str, float]
    """The value of each metric."""


def pareto_front(space: SearchSpace, trials: Sequence[TrialRecord]) -> list[FrontPoint]:
    """Return the trials that no other beats in both metrics, the best by the first one first.

    Trials that failed or break a constraint are left out. It is empty with a single metric.
    """
    found: list[FrontPoint] = []
    if not space.metric.second:
        return found
    lowest = float("inf")
    points = [
        point_of(space, trial.number, trial.best) for trial in rank_trials(trials) if trial.best
    ]
    for point in sorted(points, key=lambda each: costs(each["values"])):
        second = costs(point["values"])[1]
        if second < lowest:
            lowest = second
            found.append(point)
    return found


def point_of(space: SearchSpace, number: int, row: EpochRow) -> FrontPoint:
    """Return the values of both metrics at an epoch of a trial."""
    values = {name: score_of(row, name) for name in space.metric.names}
    return {"trial": number, "epoch": row["epoch"], "values": values}


def costs(values: dict[str, float]) -> tuple[float, ...]:
    """Return the values of metrics, negated where higher is better."""
    return tuple(
        value if better_direction(name) == "min" else -value for name, value in values.items()
    )


def describe_front(front: Sequence[FrontPoint]) -> str:
    """Say how many trials are on a front, and between which values they lie."""
    if not front:
        return "none yet"
    parts = []
    for name, first in front[0]["values"].items():
        ends = dict.fromkeys(map(format_metric, (first, front[-1]["values"][name])))
        parts.append(f"{name} {' to '.join(ends)}")
    return f"{count_noun(len(front), 'trial')}: {', '.join(parts)}"


def format_metric(value: float) -> str:
    """Format a value of a metric; a count has no decimals."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
