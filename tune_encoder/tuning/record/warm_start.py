"""What one search takes over from others: their trials, or their best configs."""

from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import ORIGIN, TrialRecord, rank_trials
from tune_encoder.space import Parameter, SearchSpace

BEST_CONFIGS = 3  # of each experiment that a search is started from


def known_trials(old: Experiment, space: SearchSpace) -> Iterator[FrozenTrial]:
    """Yield an experiment's ended trials as a study of this space would have them.

    Those with a searched setting outside its range are left out.
    """
    for trial in old.trials():
        replay = _ReplayTrial(trial.settings)
        if trial.state not in ("COMPLETE", "PRUNED") or not trial.rows or not replay.fits(space):
            continue
        metric = space.metric
        values = {row["epoch"]: row[metric.name] for row in trial.rows}
        pick = min if metric.direction == "min" else max
        yield optuna.trial.create_trial(
            state=TrialState[trial.state],
            value=pick(values.values()) if trial.state == "COMPLETE" else None,
            params=replay.params,
            distributions=replay.distributions,
            intermediate_values=values,
            user_attrs={ORIGIN: f"{old.name}/{trial.number}"},
        )


def best_configs(old: Experiment, space: SearchSpace) -> list[dict[str, Any]]:
    """Return the best configs of an experiment, as far as this space can propose them."""
    return [
        config
        for trial in rank_trials(old.trials())
        if (config := _transferable_config(trial, space))
    ][:BEST_CONFIGS]


def _transferable_config(trial: TrialRecord, space: SearchSpace) -> dict[str, Any]:
    return {
        p.name: trial.settings[p.name] for p in space.parameters if _contains(p, trial.settings)
    }


def _contains(parameter: Parameter, known: Mapping[str, Any]) -> bool:
    """Whether a search that may have had other settings knows a value that can be proposed."""
    try:
        return parameter.contains(known[parameter.name])
    except (KeyError, TypeError):
        return False


class _ReplayTrial:
    """Answers a space with a trial's settings, noting the distributions it is asked for."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def fits(self, space: SearchSpace) -> bool:
        """Whether the space could have proposed these settings."""
        asked = space.searched_names(self._settings)
        fits = all(_contains(p, self._settings) for p in space.parameters if p.name in asked)
        if fits:
            space.sample(self)
        return fits

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Give the trial's value."""
        value: float = self._record_value(name, FloatDistribution(low, high, log=log, step=step))
        return value

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Give the trial's value."""
        value: int = self._record_value(name, IntDistribution(low, high, log=log, step=step))
        return value

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Give the trial's value."""
        return self._record_value(name, CategoricalDistribution(choices))

    def _record_value(self, name: str, distribution: BaseDistribution) -> Any:
        self.params[name] = self._settings[name]
        self.distributions[name] = distribution
        return self._settings[name]
