"""Seeding a search with the trials of an earlier one."""

from collections.abc import Iterator, Mapping

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from tune_encoder.config import SettingValue
from tune_encoder.experiment.epoch_row import EpochRow, as_row, rank, score_of
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import ORIGIN, TrialRecord
from tune_encoder.space import Parameter, SearchSpace, excesses
from tune_encoder.tuning.record.outcome import rate_row, row_values


def known_trials(old: Experiment, space: SearchSpace) -> Iterator[FrozenTrial]:
    """Yield an experiment's ended trials as trials of a study of this space.

    Trials with a searched setting outside its range are left out, and those whose search did not
    measure what the space compares or limits.
    """
    quantities = (*space.metric.names, *(each.name for each in space.constraints))
    for trial in old.trials():
        replay = _replay(trial.settings, space)
        if trial.state not in ("COMPLETE", "PRUNED") or not trial.rows or replay is None:
            continue
        if not all(name in trial.rows[0] for name in quantities):
            continue
        best = _best_row(trial, space)
        yield optuna.trial.create_trial(
            state=TrialState[trial.state],
            values=row_values(best, space) if trial.state == "COMPLETE" else None,
            constraints=excesses(space.constraints, {**best}),
            params=replay.params,
            distributions=replay.distributions,
            intermediate_values={r["epoch"]: score_of(r, space.metric.name) for r in trial.rows},
            user_attrs={ORIGIN: f"{old.name}/{trial.number}"},
        )


def _best_row(trial: TrialRecord, space: SearchSpace) -> EpochRow:
    """The best row by the metric and the constraints of the space."""
    rows = [as_row({**row}) for row in trial.rows]
    for row in rows:
        rate_row(row, space)
    return min(rows, key=rank)


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
