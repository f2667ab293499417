"""The table of `search_quality`: the regret of each method, and paired differences over tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.benchmarks.simulated.testbed import EPOCHS, WORST_REGRET, Task

GRID = range(20, 20 * EPOCHS + 1, 20)  # epochs at which the area under the curve is read
CONFIDENCE = 0.95


@dataclass(frozen=True, order=True)
class Run:
    """What one search found, as it is stored."""

    method: str
    task: str
    seed: int
    trace: list[tuple[int, float]]
    """Epochs spent by all trials together, and the best value then, whenever it improves."""
    n_trials: int
    n_full: int
    """Trials that used all their epochs."""
    spent: int
    workers: int = 4

    def regrets(self, task: Task) -> NDArray[np.float64]:
        """Return the regret at each point of the grid."""
        spent, values = zip(*self.trace, strict=True)
        last = np.searchsorted(spent, GRID, side="right") - 1
        known = [task.regret(values[i]) if i >= 0 else WORST_REGRET for i in last]
        return np.array(known)


@dataclass(frozen=True)
class Scores:
    """The regrets of a method's runs, in percent."""

    name: str
    runs: list[Run]
    curves: NDArray[np.float64]
    """(runs, points of the grid)"""

    @property
    def final(self) -> NDArray[np.float64]:
        """(runs,) at the end."""
        return self.curves[:, -1]

    @property
    def area(self) -> NDArray[np.float64]:
        """(runs,) the mean over the grid."""
        areas: NDArray[np.float64] = self.curves.mean(axis=1)
        return areas

    @classmethod
    def of(cls, name: str, runs: list[Run], tasks: dict[str, Task]) -> "Scores":
        """Score the runs."""
        curves = 100 * np.array([run.regrets(tasks[run.task]) for run in runs])
        return cls(name, runs, curves)

    def by_task(self, values: NDArray[np.float64]) -> dict[str, float]:
        """Return the mean over the runs on each task."""
        names = np.array([run.task for run in self.runs])
        return {str(name): float(values[names == name].mean()) for name in np.unique(names)}

    def mean(self, values: NDArray[np.float64]) -> float:
        """Return the mean over tasks of the means over their runs."""
        return float(np.mean(list(self.by_task(values).values())))


def reach(one: Scores, other: Scores) -> float:
    """Return the share of the epochs after which one has the other's final regret; inf if never.

    Both are means over tasks.
    """
    reached = [one.mean(at) <= other.mean(other.final) for at in one.curves.T]
    return GRID[reached.index(True)] / GRID[-1] if True in reached else float("inf")


def difference(one: dict[str, float], other: dict[str, float]) -> tuple[float, float]:
    """Return the mean difference over the tasks that both have, and half its interval."""
    gaps = [one[name] - other[name] for name in one if name in other]
    if len(gaps) < 2:
        return float("nan"), float("nan")
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(gaps) - 1)
    return float(np.mean(gaps)), float(quantile * stats.sem(gaps))


def table_lines(
    tasks: Sequence[Task], runs: list[Run], peers: list[Run], baseline: str
) -> Iterator[str]:
    """Compare methods with the baseline and with the best peer.

    Args:
        tasks: Those of the testbed.
        runs: What was run.
        peers: Runs of other systems.
        baseline: A method among `runs`.
    """
    ours, theirs = scores_of(runs, tasks), scores_of(peers, tasks)
    complete = [each for each in theirs if {run.task for run in each.runs} == {*_named(tasks)}]
    best = min(complete, key=lambda each: each.mean(each.final), default=None)
    reference = next(each for each in ours if each.name == baseline)
    yield (
        f"{'':52} {'runs':>4} {'final':>6} {'area':>5} {'median':>6} {'25-75%':>8} "
        f"{'trials':>6} {'full':>5} {'reach':>5}   {'final - random':16} {'area - random':16} "
        "final - best peer"
    )
    for each in [*sorted(ours + theirs, key=lambda each: each.mean(each.final))]:
        beside = [_gap(each, reference, "final"), _gap(each, reference, "area")]
        beside += [_gap(each, best, "final")] if best is not None else []
        reached = f"{reach(each, reference):5.2f}"
        yield f"{_figures(each, each in ours)} {reached}   {' '.join(beside)}".rstrip()
    if best is not None:
        yield f"best peer that was run on all tasks: {best.name}"


def _named(tasks: Sequence[Task]) -> list[str]:
    return [task.name for task in tasks]


def scores_of(runs: list[Run], tasks: Sequence[Task]) -> list[Scores]:
    """Score all methods on the tasks."""
    by_name = {task.name: task for task in tasks}
    known = [run for run in runs if run.task in by_name]
    names = dict.fromkeys(run.method for run in known)
    return [
        Scores.of(name, [run for run in known if run.method == name], by_name) for name in names
    ]


def _figures(scores: Scores, is_ours: bool) -> str:
    low, median, high = np.percentile(scores.final, (25, 50, 75))
    name = scores.name if is_ours else f"peer: {scores.name}"
    return (
        f"{name[:52]:52} {len(scores.runs):4} {scores.mean(scores.final):6.1f} "
        f"{scores.mean(scores.area):5.1f} {median:6.1f} {low:4.0f}-{high:3.0f} "
        f"{_average(scores, lambda run: run.n_trials):6.0f} "
        f"{_average(scores, lambda run: run.n_full):5.1f}"
    )


def _average(scores: Scores, value: Callable[[Run], float]) -> float:
    return float(np.mean([value(run) for run in scores.runs]))


def _gap(one: Scores, other: Scores, of: str) -> str:
    first, second = (each.by_task(getattr(each, of)) for each in (one, other))
    mean, half = difference(first, second)
    return f"{mean:+6.1f} +-{half:4.1f}   "
