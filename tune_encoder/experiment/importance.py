"""Which settings mattered, asked of the record while a search runs or after it. Starts no Ray.

The measure is Optuna's PED-ANOVA: how differently a setting is distributed among the better half
of the trials than among all. Of Optuna's evaluators it alone rates settings that only some
trials have, and needs no scikit-learn. It looks at who is better, never by how much, so trials
that were stopped early can be rated beside those that ran to the end: both kinds count, each by
its best epoch, as in the choice of the best trial. Failed trials have no such value and are left
out.

Sources: Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023, arXiv 2304.10255; for settings with
conditions, Conditional PED-ANOVA, arXiv 2601.20800.
"""

import math
from dataclasses import dataclass

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from tune_encoder.errors import ConfigError
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.experiment.folder import STUDY_NAME, Experiment
from tune_encoder.experiment.trials import read_only
from tune_encoder.system.formats import count_noun

# Fabricated searches with one setting that mattered and three that did not were rated: with half
# of the trials as "the better" it came first more often than with a quarter or a third of them.
TARGET_QUANTILE = 0.5
MIN_TRIALS = 10  # it came first in three of four
RELIABLE_TRIALS = 48  # it always came first
_RATED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Importance:
    """How much of the difference between the better half and all trials is due to a setting."""

    name: str
    share: float
    """Of 1 over all searched settings."""
    n_trials: int
    """Rated trials that have the setting; one with a condition is not in all."""


@dataclass(frozen=True)
class Importances:
    """What was rated."""

    settings: list[Importance]
    """The most important first."""
    n_trials: int

    @property
    def rough(self) -> bool:
        """Whether so few trials were rated that another search might give another order."""
        return self.n_trials < RELIABLE_TRIALS


def silence_optuna() -> None:
    """Keep Optuna's log of every trial from the terminal; its errors stay."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def importances(experiment: Experiment) -> Importances:
    """Rate each searched setting by the trials that ended so far.

    Raises:
        ConfigError: if too few trials ended, or too many of them are equally good.
        StorageError: if the record cannot be read.
    """
    values = {trial.number: objective(trial.best) for trial in experiment.trials() if trial.best}
    # A trial that ended between the two readings may be missing in the first.
    trials = [t for t in _ended(experiment) if t.number in values] if values else []
    _check_enough(experiment, [values[trial.number] for trial in trials])
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
    """The study's trials that count, over a connection that cannot write."""
    storage = optuna.storages.RDBStorage(
        "sqlite://", engine_kwargs={"creator": lambda: read_only(experiment.study_path)}
    )
    try:
        study = optuna.load_study(study_name=STUDY_NAME, storage=storage)
        return list(study.get_trials(deepcopy=False, states=_RATED))
    finally:
        storage.engine.dispose()


def _check_enough(experiment: Experiment, values: list[float]) -> None:
    """Refuse what would only rate chance; values (N,)."""
    if len(values) < MIN_TRIALS:
        trials = f"{count_noun(len(values), 'trial')} {'has' if len(values) == 1 else 'have'}"
        raise ConfigError(
            f"{experiment.name}: {trials} ended with a result, importance needs at least "
            f"{MIN_TRIALS}; wait, or raise budget.trials"
        )
    worst_of_better = sorted(values)[math.ceil(TARGET_QUANTILE * len(values)) - 1]
    if worst_of_better == max(values):
        raise ConfigError(
            f"{experiment.name}: half of the {len(values)} trials are equally bad, so nothing "
            "tells the better ones apart; search by another metric, or longer"
        )


def _completed(trial: FrozenTrial, value: float) -> FrozenTrial:
    """The trial as the evaluator wants it: finished, with one value."""
    return optuna.trial.create_trial(
        params=trial.params, distributions=trial.distributions, value=value
    )
