"""The samplers of the searchers; Optuna's TPE also learns from failed trials here."""

import copy
import warnings
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalChoiceType
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tune_encoder.space import SearchSpace
from tune_encoder.tuning.record.study import COPY_OF


def make_sampler(space: SearchSpace, number: int) -> BaseSampler:
    """Return the sampler that proposes trial `number`.

    It is seeded by (seed, number) and created again each time, so a proposal depends only on the
    study, and a resumed search proposes what an uninterrupted one would have proposed.
    """
    settings, seed = space.searcher, sampler_seed(space, number)
    if settings.name in ("random", "grid"):  # the configs of a grid are all enqueued already
        return optuna.samplers.RandomSampler(seed=seed)
    if settings.name == "gp":
        from tune_encoder.tuning.record.gp_sampler import GaussianProcessSampler  # loads SciPy

        return GaussianProcessSampler(space, seed)
    if settings.name == "nsga2":
        return PenalizingSampler(SteadyNsga2(max(2, settings.startup_trials), seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PenalizingSampler(
            optuna.samplers.TPESampler(
                multivariate=True,
                group=True,  # conditional settings are modelled in groups that occur together
                constant_liar=True,  # do not propose configs near those that are running
                n_startup_trials=settings.startup_trials,
                seed=seed,
            )
        )


def sampler_seed(space: SearchSpace, number: int) -> int:
    """Return the seed of what proposes trial `number`."""
    return (space.searcher.seed * 1_000_003 + number) % 2**32  # which is all that numpy accepts


class SteadyNsga2(NSGAIISampler):
    """NSGA-II whose parents are the best of all trials that have ended, without generations.

    So no worker waits for a generation to be full, and a proposal depends on the study alone.

    Source: Durillo, Nebro, Luna, Alba: On the Effect of the Steady-State Selection Scheme in
    Multi-Objective Genetic Algorithms, EMO 2009.
    """

    def __init__(self, population_size: int, seed: int) -> None:
        super().__init__(population_size=population_size, seed=seed)
        self._n_parents = population_size

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """Return 0 while there are too few trials to be parents, and then 1."""
        return int(len(self.get_population(study, 0)) >= self._n_parents)

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return all trials that have two values."""
        return study._get_trials(deepcopy=False, states=[TrialState.COMPLETE])

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the best of them."""
        return self.select_parent(study, generation) if generation else []


class PenalizingSampler(BaseSampler):
    """Shows failed trials to TPE as the worst ones, so that it avoids similar configs.

    TPE ignores failed trials, and so keeps proposing configs that diverge.
    """

    def __init__(self, within: BaseSampler) -> None:
        self._sampler = within

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See Optuna."""
        return self._sampler.infer_relative_search_space(_with_penalties(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, CategoricalChoiceType]:
        """See Optuna."""
        return self._sampler.sample_relative(_with_penalties(study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See Optuna."""
        return self._sampler.sample_independent(
            _with_penalties(study), trial, param_name, param_distribution
        )


def _with_penalties(study: Study) -> Any:
    return _StudyWithPenalties(study)


class _StudyWithPenalties:
    """A study that presents its failed trials as the worst ones.

    Paused trials are presented as pruned: otherwise a search that promotes would seem to have no
    results until its end. Running trials are presented with the settings that they use, without
    those that were sampled for them but do not apply.

    Optuna's samplers read a study by `_get_trials`, for which there is no public alternative.
    """

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Iterable[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        wanted = set(states) if states is not None else set(TrialState)
        asked = (*wanted, TrialState.FAIL, TrialState.RUNNING)
        trials = self._study.get_trials(deepcopy, asked)
        two = len(self._study.directions) > 1
        learned = (trial for trial in trials if trial.params and COPY_OF not in trial.user_attrs)
        shown = [_convert_trial(trial, two) for trial in learned]  # without the closed form
        return [trial for trial in shown if trial.state in wanted]


def _convert_trial(trial: FrozenTrial, two_metrics: bool) -> FrozenTrial:
    """Return a trial unchanged, or converted.

    Args:
        trial: The trial.
        two_metrics: Whether it has two values, of which a pruned one has none; TPE then cannot rank
            it by its last epoch.
    """
    if two_metrics and trial.state is TrialState.PRUNED:
        shown = copy.copy(trial)
        shown.intermediate_values = {}
        return shown
    if trial.state is TrialState.RUNNING:
        state = TrialState.PRUNED if trial.user_attrs.get("paused") else trial.state
        return _copy_trial(trial, state, trial.intermediate_values)
    if trial.state is TrialState.FAIL:  # as if stopped before its first epoch: ranked last by TPE
        return _copy_trial(trial, TrialState.PRUNED, {})
    return trial


def _copy_trial(
    trial: FrozenTrial, state: TrialState, intermediate_values: dict[int, float]
) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state, shown.values = state, None
    shown.user_attrs, shown.system_attrs = {}, {}
    shown.intermediate_values = intermediate_values
    return shown
