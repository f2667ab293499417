"""Samplers that propose a config as a whole, not one setting after the other."""

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial


class WholeConfigSampler(BaseSampler):
    """Leaves every setting to `sample_independent`, which a class of this kind implements.

    Optuna asks for the settings one by one. Those of a proposal are looked up in the config that is
    chosen when the first is asked for; so conditions between settings are those of the space.
    """

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See Optuna; none is sampled beforehand."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna."""
        return {}
