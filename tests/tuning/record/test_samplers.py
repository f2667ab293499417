import optuna
import pytest

from tune_encoder.config import SearcherSettings
from tune_encoder.tuning.record.samplers import PenalizingSampler, make_sampler

TRIALS = 30


def propose(settings, penalised=True):
    """Run trials of x in 0..1; a larger x does better, but above a half it fails."""
    study = optuna.create_study()
    for number in range(TRIALS):
        sampler = make_sampler(settings, number)
        if not penalised:
            assert isinstance(sampler, PenalizingSampler)
            sampler = sampler._sampler
        study.sampler = sampler
        trial = study.ask()
        x = trial.suggest_float("x", 0.0, 1.0)
        if x > 0.5:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, 1 - x)
    return study


def failures(study):
    return sum(trial.state is optuna.trial.TrialState.FAIL for trial in study.trials[15:])


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_a_sampler_leaves_the_corner_that_fails(name):
    settings = SearcherSettings(name=name, startup_trials=10)

    told, untold = propose(settings), propose(settings, penalised=False)

    assert failures(told) < failures(untold) - 3, (failures(told), failures(untold))
    assert told.best_value < 0.55


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_proposal_depends_on_the_study_and_the_seed_alone(name):
    settings = SearcherSettings(name=name, startup_trials=5, seed=3)

    first, second = propose(settings), propose(settings)

    assert [t.params for t in first.trials] == [t.params for t in second.trials]
    other = propose(SearcherSettings(name=name, startup_trials=5, seed=4))
    assert [t.params for t in other.trials] != [t.params for t in first.trials]
