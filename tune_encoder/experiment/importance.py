"""Importance of the searched settings, from the record, during or after a search; without Ray.

The measure is Optuna's PED-ANOVA: how much the distribution of a setting differs between the
better half of the trials and all trials. Of Optuna's evaluators only this one handles settings
that only some trials have, and it needs no scikit-learn. It uses ranks, not values, so trials that
were stopped early count along with finished ones, each by its best epoch, as in the choice of the
best trial. Failed trials are excluded.

Sources: Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023, arXiv 2304.10255; for settings with
conditions, Conditional PED-ANOVA, arXiv 2601.20800.
"""

import math
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from tune_encoder.errors import ConfigError
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.experiment.folder import STUDY_NAME, Experiment
from tune_encoder.experiment.trials import read_only
from tune_encoder.system.damage import refuse_damage
from tune_encoder.system.formats import count_noun

# In simulated searches with one setting that matters and three that do not, it ranked first more
# often with the better half of the trials than with a quarter or a third.
TARGET_QUANTILE = 0.5
MIN_TRIALS = 10  # it ranked first in three of four
RELIABLE_TRIALS = 48  # it always ranked first
_RATED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Importance:
    """The importance of one setting."""

    name: str
    share: float
    """Importance; the shares of all searched settings sum to 1."""
    n_trials: int
    """Rated trials with the setting; a conditional one is not in all."""


@dataclass(frozen=True)
class Importances:
    """The importance of all searched settings."""

    settings: list[Importance]
    """The most important first."""
    n_trials: int

    @property
    def rough(self) -> bool:
        """Whether there are so few trials that another search might give another order."""
        return self.n_trials < RELIABLE_TRIALS


def silence_optuna() -> None:
    """Keep Optuna's log of every trial from the terminal; its errors stay."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def importances(experiment: Experiment) -> Importances:
    """Rate each searched setting by the trials that have ended.

    Raises:
        ConfigError: if too few trials ended, or too many of them are equally good.
        StorageError: if the record cannot be read.
    """
    values = {trial.number: objective(trial.best) for trial in experiment.trials() if trial.best}
    # A trial that ended between the two reads may be missing in the first.
    ended = _ended(experiment) if values else []
    trials = [t for t in ended if t.number in values and t.params]
    _check_enough(experiment, [values[trial.number] for trial in trials])
    # Takes a second where scikit-learn is installed, so not at the start of every search.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    silence_optuna()
    study = optuna.create_study(direction="minimize")  # in memory
    study.add_trials([_completed(trial, values[trial.number]) for trial in trials])
    shares = get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TARGET_QUANTILE)
    )
    counts = {name: sum(name in trial.params for trial in trials) for name in shares}
    settings = [Importance(name, float(share), counts[name]) for name, share in shares.items()]
    return Importances(settings, len(trials))


def _ended(experiment: Experiment) -> list[FrozenTrial]:
    """The study's trials to rate, over a read-only connection."""
    with refuse_damage(experiment.unreadable_error):
        storage = optuna.storages.RDBStorage(
            "sqlite://", engine_kwargs={"creator": lambda: read_only(experiment.study_path)}
        )
        try:
            study = optuna.load_study(study_name=STUDY_NAME, storage=storage)
            return list(study.get_trials(deepcopy=False, states=_RATED))
        finally:
            storage.engine.dispose()


def _check_enough(experiment: Experiment, values: list[float]) -> None:
    """Check that there are enough distinct values (N,)."""
    if len(values) < MIN_TRIALS:
        trials = f"{count_noun(len(values), 'trial')} {'has' if len(values) == 1 else 'have'}"
        raise ConfigError(
            f"{experiment.name}: {trials} ended with a result, importance needs at least "
            f"{MIN_TRIALS}; wait, or raise budget.trials"
        )
    worst_of_better = sorted(values)[math.ceil(TARGET_QUANTILE * len(values)) - 1]
    if worst_of_better == max(values):
        raise ConfigError(
            f"{experiment.name}: half of the {len(values)} trials are equally bad, so the better "
            "half is not defined; search longer or with another metric"
        )


def _completed(trial: FrozenTrial, value: float) -> FrozenTrial:
    """The trial as finished, with one value, as the evaluator needs it."""
    return optuna.trial.create_trial(
        params=trial.params, distributions=trial.distributions, value=value
    )
