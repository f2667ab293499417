"""By how much the next trial is expected to improve a search's best value.

The values are those of all trials that have reached a rung, each the best so far, as for the
searcher `gp`; of the worse half all count as the median. They are modelled by the Gaussian process
of that searcher, in the metric's own units, and the gain is the largest expected improvement on the
best value so far. Values of stopped trials might have become better, so where few trials use all
their epochs the gain is rather over- than underestimated: by the deviation of what is not known.

Source of the rule: Makarova et al.: Automatic Termination for Hyperparameter Optimization, AutoML
2022. Theirs bounds the regret instead, for spaces without conditions, with a confidence level.
"""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from tune_encoder.experiment.epoch_row import objective
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import SearchSpace
from tune_encoder.space.plan import rung_epochs
from tune_encoder.space.unit_cube import UnitCube
from tune_encoder.tuning.record.gaussian_process import Array, GaussianProcess
from tune_encoder.tuning.record.samplers import sampler_seed

FEWEST_TRIALS = 20  # with fewer the model knows too little to end a search
MOST_TRIALS = 300  # in the model, the best ones
_N_RANDOM, _N_NEAR, _N_BEST = 500, 400, 8  # candidates, as in the searcher `gp`


def expected_gain(space: SearchSpace, trials: Sequence[TrialRecord]) -> float | None:
    """Return the gain in the metric's units, at least 0; None with too few trials.

    Args:
        space: What is searched.
        trials: All trials of the search.
    """
    rated = sorted(_rated(space, trials), key=_best_objective)[:MOST_TRIALS]
    if len(rated) < FEWEST_TRIALS:
        return None
    values = np.array([_best_objective(trial) for trial in rated])
    kept = np.minimum(values, np.median(values))
    if not (scale := float(kept.std())):
        return 0.0
    to_beat = min(map(_best_objective, filter(_counts, trials)))
    scaled, best = (kept - kept.mean()) / scale, (to_beat - kept.mean()) / scale
    with threadpool_limits(1, "blas"):  # threads would wait for cores on which trials train
        return scale * _largest_improvement(space, rated, scaled, float(best))


def _best_objective(trial: TrialRecord) -> float:
    assert trial.best is not None
    return objective(trial.best)


def _counts(trial: TrialRecord) -> bool:
    """Whether a trial has a result, which keeps the constraints."""
    return bool(trial.rows) and trial.state != "FAIL" and trial.keeps_constraints


def _rated(space: SearchSpace, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials of networks that have reached the first rung, and count."""
    first = min(rung_epochs(space), default=space.budget.epochs)
    return [
        trial
        for trial in trials
        if _counts(trial)
        and (trial.state != "RUNNING" or trial.rows[-1]["epoch"] >= first)
        and space.config_key(trial.settings) is not None
    ]


def _largest_improvement(
    space: SearchSpace, rated: Sequence[TrialRecord], values: Array, best: float
) -> float:
    """Return the expected improvement on `best` where it is largest.

    Args:
        space: What is searched.
        rated: Trials, the best first.
        values: Their values (n,), of mean 0 and unit variance.
        best: The value to improve on, in the same units.
    """
    cube = UnitCube(space)
    random = np.random.default_rng(sampler_seed(space, len(rated)))
    settings = (space.searched_settings(trial.settings) for trial in rated)
    places = np.array([cube.coordinates(each) for each in settings])
    model = GaussianProcess.fit(cube.columns(places), values, cube.owners, random)
    near = cube.neighbours(places[:_N_BEST], _N_NEAR, random)
    candidates = np.vstack([cube.draw(_N_RANDOM, random), near])
    return float(model.expected_improvement(cube.columns(candidates), best).max())
