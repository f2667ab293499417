"""A sampler that proposes whole configs, and none that has been tried."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from tune_encoder.config import SettingValue
from tune_encoder.space import (
    MAX_GRID_POINTS,
    ConfigKey,
    Parameter,
    RandomSuggester,
    SearchSpace,
)
from tune_encoder.tuning.record.whole_config import WholeConfigSampler

_OWN_DRAWS = 2  # of the sampler, before configs are drawn at random
_RANDOM_DRAWS = 100

Config = dict[str, SettingValue]


class DistinctSampler(WholeConfigSampler):
    """Draws from another sampler until a config is none of those that are taken.

    Of few configs of which most are taken, one that is left is chosen at random. If none is found,
    a taken one is proposed.
    """

    def __init__(
        self, within: BaseSampler, space: SearchSpace, taken: Collection[ConfigKey], seed: int
    ) -> None:
        self._sampler, self._space = within, space
        self._taken, self._seed = taken, seed
        self._config: Config | None = None

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the setting of the config that is drawn when the first is asked for."""
        if self._config is None:
            self._config = self._draw(study, trial)
        return self._config[param_name]

    def _draw(self, study: Study, trial: FrozenTrial) -> Config:
        fixed = self._fixed_settings(trial)
        config: Config = {}
        for config in self._draws(study, trial, fixed):
            if self._space.config_key(config) not in self._taken:
                break
        return config

    def _fixed_settings(self, trial: FrozenTrial) -> Config:
        """Return the settings of an enqueued config."""
        given: Config = trial.system_attrs.get("fixed_params", {})
        return {p.name: given[p.name] for p in self._space.parameters if _is_given(p, given)}

    def _draws(self, study: Study, trial: FrozenTrial, fixed: Config) -> Iterator[Config]:
        for _ in range(_OWN_DRAWS):
            yield self._space.sample(_OptunaSuggester(self._sampler, study, trial), fixed)
        drawn = RandomSuggester(self._seed)
        for _ in range(_RANDOM_DRAWS):
            yield self._space.sample(drawn, fixed)
        every = self._space.all_configs(MAX_GRID_POINTS) or []
        for place in np.random.default_rng(self._seed).permutation(len(every)):
            if fixed.items() <= every[place].items():
                yield self._space.sample(drawn, every[place])


def _is_given(parameter: Parameter, given: Config) -> bool:
    """Whether an enqueued config has a value of a parameter, within its range."""
    return parameter.name in given and parameter.contains(given[parameter.name])


class _OptunaSuggester:
    """Suggests what a trial would get from a sampler."""

    def __init__(self, sampler: BaseSampler, study: Study, trial: FrozenTrial) -> None:
        self._sampler, self._study, self._trial = sampler, study, trial
        searched = sampler.infer_relative_search_space(study, trial)
        self._relative = sampler.sample_relative(study, trial, searched)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Suggest a number."""
        return float(self._suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Suggest a whole number."""
        return int(self._suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[SettingValue]) -> SettingValue:
        """Suggest one of the choices."""
        chosen: SettingValue = self._suggest(name, CategoricalDistribution(choices))
        return chosen

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name in self._relative:
            return self._relative[name]
        return self._sampler.sample_independent(self._study, self._trial, name, distribution)
