"""Seeding a search with the trials of an earlier one."""

from collections.abc import Iterator, Mapping

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from tune_encoder.config import SettingValue
from tune_encoder.experiment.epoch_row import score_of
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import ORIGIN
from tune_encoder.space import Parameter, SearchSpace


def known_trials(old: Experiment, space: SearchSpace) -> Iterator[FrozenTrial]:
    """Yield an experiment's ended trials as trials of a study of this space.

    Trials with a searched setting outside its range are left out.
    """
    for trial in old.trials():
        replay = _replay(trial.settings, space)
        if trial.state not in ("COMPLETE", "PRUNED") or not trial.rows or replay is None:
            continue
        metric = space.metric
        values = {row["epoch"]: score_of(row, metric.name) for row in trial.rows}
        pick = min if metric.direction == "min" else max
        yield optuna.trial.create_trial(
            state=TrialState[trial.state],
            value=pick(values.values()) if trial.state == "COMPLETE" else None,
            params=replay.params,
            distributions=replay.distributions,
            intermediate_values=values,
            user_attrs={ORIGIN: f"{old.name}/{trial.number}"},
        )


def _replay(settings: Mapping[str, SettingValue], space: SearchSpace) -> FixedTrial | None:
    """Return a trial with these settings, sampled from the space; None if that is impossible."""
    if space.is_closed_form(settings):
        return None
    asked = space.searched_names(settings)
    if not all(_contains(p, settings) for p in space.parameters if p.name in asked):
        return None
    replay = FixedTrial(dict(settings))
    space.sample(replay)
    return replay


def _contains(parameter: Parameter, known: Mapping[str, SettingValue]) -> bool:
    """Whether the settings of another search have a value within the parameter's range."""
    return parameter.name in known and parameter.contains(known[parameter.name])
