"""The searcher `gp`: proposes where a Gaussian process expects the most improvement."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from tune_encoder.config import SettingValue
from tune_encoder.space import SearchSpace
from tune_encoder.space.plan import rung_epochs
from tune_encoder.space.unit_cube import UnitCube
from tune_encoder.tuning.record.gaussian_process import GaussianProcess
from tune_encoder.tuning.record.scores import FAILED, best_value, comparable_scores
from tune_encoder.tuning.record.study import COPY_OF
from tune_encoder.tuning.record.whole_config import WholeConfigSampler

Array = NDArray[np.float64]

RANDOM_SHARE = 0.2  # of the proposals, which keep a model that is wrong from being believed
MOST_TRIALS = 300  # in the model: the best half, and others at random
_N_RANDOM, _N_NEAR = 500, 400  # candidates: anywhere, and near the best
_N_BEST = 8


class GaussianProcessSampler(WholeConfigSampler):
    """Models the scores of all trials that have reached a rung; see `scores`.

    The config is proposed when its first setting is asked for. Trials that run without having
    reached a rung count as if they would do as the model expects, so that others keep away.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._first_rung = min(rung_epochs(space), default=space.budget.epochs)
        self._cube = UnitCube(space)
        self._random = np.random.default_rng(seed)
        self._others = RandomSampler(seed=seed)
        self._proposals: Iterator[dict[str, SettingValue]] | None = None
        self._proposal: dict[str, SettingValue] | None = None

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna; a trial for which this is called again gets the next best config."""
        self._proposal = None
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the setting of the config that is proposed.

        A setting that does not apply there may apply here, if others are fixed by a config that was
        enqueued; it is then sampled at random.
        """
        if self._proposal is None:
            known = [
                each for each in study.get_trials(deepcopy=False) if each.number != trial.number
            ]
            with threadpool_limits(1, "blas"):  # threads would wait for cores on which trials train
                self._proposals = self._proposals or self._propose(known, study)
                self._proposal = next(self._proposals)
        if param_name in self._proposal:
            return self._proposal[param_name]
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def _propose(
        self, trials: Sequence[FrozenTrial], study: Study
    ) -> Iterator[dict[str, SettingValue]]:
        """Yield configs, the most promising first."""
        known = [trial for trial in trials if _is_known(trial)]
        values = [best_value(trial, self._first_rung, study.direction) for trial in known]
        rated = [trial for trial, value in zip(known, values, strict=True) if value is not None]
        n_good = sum(value is not None and np.isfinite(value) for value in values)
        enough = n_good >= self._space.searcher.startup_trials
        if not enough or self._random.random() < RANDOM_SHARE:
            while True:
                yield self._cube.settings(self._cube.draw(1, self._random)[0])
        scores = comparable_scores([value for value in values if value is not None])
        kept = self._kept(scores)
        pending = [trial for trial, value in zip(known, values, strict=True) if value is None]
        places = self._places([rated[i] for i in kept])
        candidates, expected = self._rated(places, scores[kept], self._places(pending))
        while True:
            best = candidates[expected.argmax()]
            yield self._cube.settings(best)
            expected[_is_same(candidates, best)] = -np.inf

    def _places(self, trials: Sequence[FrozenTrial]) -> Array:
        places = [self._cube.coordinates(trial.params) for trial in trials]
        return np.reshape(places, (len(places), len(self._space.parameters)))

    def _rated(self, places: Array, scores: Array, pending: Array) -> tuple[Array, Array]:
        """Return candidates' coordinates (n, parameters), and their expected improvements (n,).

        Args:
            places: Coordinates of the trials of the model (n, parameters), best first.
            scores: Their scores (n,).
            pending: Coordinates of trials whose scores are not known (m, parameters).
        """
        cube, random = self._cube, self._random
        points = cube.columns(places)
        known = GaussianProcess.fit(points, scores - scores.mean(), cube.owners, random)
        near = cube.neighbours(places[:_N_BEST], _N_NEAR, random)
        candidates = np.vstack([cube.draw(_N_RANDOM, random), near])
        asked = cube.columns(candidates)
        model = known.with_pending(cube.columns(pending))
        expected = model.expected_improvement(asked, model.values.min())
        expected *= _chance_of_success(known, scores == FAILED, asked)
        return candidates, expected

    def _kept(self, scores: Array) -> NDArray[np.intp]:
        """Choose the trials of the model, best first."""
        ranked = np.argsort(scores, kind="stable")
        half = MOST_TRIALS // 2
        if len(ranked) <= MOST_TRIALS:
            return ranked
        others = self._random.choice(ranked[half:], MOST_TRIALS - half, replace=False)
        return np.concatenate([ranked[:half], others])


def _is_known(trial: FrozenTrial) -> bool:
    """Whether the model may learn from a trial, once it has a value."""
    has_begun = trial.params and trial.state != TrialState.WAITING
    return bool(has_begun) and COPY_OF not in trial.user_attrs


def _is_same(candidates: Array, one: Array) -> NDArray[np.bool_]:
    """Whether candidates (n, parameters) have the coordinates of one (parameters,): (n,)."""
    same: NDArray[np.bool_] = ((candidates == one) | np.isnan(candidates) & np.isnan(one)).all(
        axis=1
    )
    return same


def _chance_of_success(known: GaussianProcess, failed: NDArray[np.bool_], asked: Array) -> Array:
    """Return how little points (n, columns) resemble the known ones that failed: (n,), 0 to 1."""
    if not failed.any():
        return np.ones(len(asked))
    failures = GaussianProcess(known.kernel, known.points, failed.astype(float), variance=1.0)
    return 1 - np.clip(failures.predict(asked)[0], 0.0, 1.0)
