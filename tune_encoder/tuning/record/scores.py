"""Scores that make trials comparable which a scheduler stopped, or paused, at different rungs.

Trials are ranked by their best value so far, whatever the epoch: those that go on are the better
ones, and going on makes them better still. Ranks become quantiles of the normal distribution, so
that no outlier counts, and of the worse half all have the score of the median: how bad they are,
often only by the noise of trials that learned nothing, says little about where the best are.

Source: Salinas et al.: Optimizing Hyperparameters with Conformal Quantile Regression, ICML 2023,
for the values; Salinas et al.: A Quantile-based Approach for Hyperparameter Transfer Learning, ICML
2020, for the quantiles.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri

FAILED = 1.0  # score of a trial without a value


def best_value(trial: FrozenTrial, first_rung: float, direction: StudyDirection) -> float | None:
    """Return a trial's best value so far; lower is better.

    It is infinite if the trial failed, or ended beyond its constraints.

    Args:
        trial: The trial.
        first_rung: Epochs that a running trial must have for its value to count; else it is None.
        direction: Of the metric.
    """
    epochs = trial.intermediate_values
    if trial.state is TrialState.RUNNING and max(epochs, default=0) < first_rung:
        return None
    values = [*epochs.values()] if trial.value is None else [trial.value, *epochs.values()]
    breaks_constraints = any(excess > 0 for excess in trial.constraints.values())
    if trial.state is TrialState.FAIL or breaks_constraints or not values:
        return np.inf
    return min(values) if direction is StudyDirection.MINIMIZE else -max(values)


def comparable_scores(values: Sequence[float]) -> NDArray[np.float64]:
    """Return a score for each value (n,), lower is better; equal values have equal scores.

    The worse half have 0, and infinite values `FAILED`.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    scores = np.minimum(ndtri(middles / len(values)), 0.0)[places]
    return np.where(np.isinf(values), FAILED, scores)
