"""Whether a search space still fits the record: people may edit it in search.yaml."""

import math
from collections.abc import Iterable, Iterator, Sequence

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.trial import FrozenTrial

from tune_encoder.config import to_mapping, unlike_pack
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.commands import command_line
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import Parameter, SearchSpace
from tune_encoder.tuning.record.study import Study


def check_fits(
    experiment: Experiment, space: SearchSpace, study: Study, trials: Sequence[TrialRecord]
) -> None:
    """Check that trials of a space can be recorded beside those that are there.

    Raises:
        ConfigError: naming what does not fit, and what starts a search in that space.
    """
    where = f"{experiment.path / 'search.yaml'}, space"
    for trial in trials:
        for reason in _unlike_pack(space, trial):
            raise ConfigError(
                f"{where}: {reason}; write it as it was, or start a new search with the option "
                f"`--warm-start {experiment.name}`"
            )
    for reason in _misfits(experiment, space, study, trials):
        fork = command_line("fork", experiment.path, "NEW --space FILE")
        raise ConfigError(
            f"{where}: {reason}; write it as it was, or put the "
            f"space into a file and search it from these trials on with `{fork}`"
        )


def _misfits(
    experiment: Experiment, space: SearchSpace, study: Study, trials: Sequence[TrialRecord]
) -> Iterator[str]:
    """Say what does not fit."""
    for parameter in space.parameters:
        yield from _unlike(parameter, study.trials())
    folds, before = space.validation.folds, experiment.n_folds()
    if trials and folds != before and (before or folds == 1):
        yield f"validation.voices is {space.validation.voices}, the trials had another validation"
    if study.has_two_metrics != bool(space.metric.second):
        yield f"metric has {len(space.metric.names)} names, the trials have another number"
    for trial in trials:
        yield from _planned_longer(space, trial)
        yield from _unlike_metric(space, trial)


def _unlike(parameter: Parameter, trials: Iterable[FrozenTrial]) -> Iterator[str]:
    """Say if a parameter is of another kind than in a trial, or has other choices."""
    now = _distribution(parameter)
    for trial in trials:
        before = trial.distributions.get(parameter.name, now)
        try:
            check_distribution_compatibility(before, now)
        except ValueError:
            yield f"{parameter.name} is {_describe(now)}, in the trials it was {_describe(before)}"


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.values)
    low, high = parameter.bounds
    if parameter.kind == "int":
        step = int(parameter.step or 1)
        return IntDistribution(int(low), int(high), log=parameter.log, step=step)
    return FloatDistribution(low, high, log=parameter.log, step=parameter.step)


def _describe(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"a choice of {', '.join(map(str, distribution.choices))}"
    kind = "int" if isinstance(distribution, IntDistribution) else "float"
    is_log = isinstance(distribution, IntDistribution | FloatDistribution) and distribution.log
    return f"a range of {kind}{' with log' if is_log else ''}"


def _unlike_pack(space: SearchSpace, trial: TrialRecord) -> Iterator[str]:
    """Say if a trial had other features or copies."""
    if trial.settings:
        for name, was, now in unlike_pack(trial.settings, to_mapping(space.base_config())):
            yield f"{name} is {now}, in the trials it was {was}"


def _planned_longer(space: SearchSpace, trial: TrialRecord) -> Iterator[str]:
    """Say if a trial was planned for more epochs."""
    planned = trial.settings.get("epochs", 0)
    if isinstance(planned, int) and planned > space.budget.epochs:
        yield f"budget.epochs is {space.budget.epochs}, the trials were planned for {planned}"


def _unlike_metric(space: SearchSpace, trial: TrialRecord) -> Iterator[str]:
    """Say if a trial's epochs were compared by another metric."""
    for row in trial.rows[-1:]:
        value = dict(row).get(space.metric.name)
        is_same = isinstance(value, int | float) and math.isclose(
            space.metric.sign * value, objective(row), rel_tol=1e-6
        )
        if not is_same:
            yield f"metric is {space.metric.name}, the trials were compared by another"
