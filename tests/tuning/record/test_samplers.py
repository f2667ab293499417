import optuna
import pytest

from tests.builders import parse_space
from tune_encoder.tuning.record.samplers import PenalizingSampler, make_sampler

TRIALS = 30


def space_of(**searcher):
    return parse_space({"searcher": searcher, "space": {"dropout": {"float": [0.0, 0.9]}}})


def propose(space, sampler_of=make_sampler):
    """Run trials of x in 0..0.9; a larger x does better, but above a half it fails."""
    study = optuna.create_study()
    for number in range(TRIALS):
        study.sampler = sampler_of(space, number)
        trial = study.ask()
        x = trial.suggest_float("dropout", 0.0, 0.9)
        if x > 0.5:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, 1 - x)
    return study


def failures(study):
    return sum(trial.state is optuna.trial.TrialState.FAIL for trial in study.trials[15:])


def without_penalties(space, number):
    sampler = make_sampler(space, number)
    assert isinstance(sampler, PenalizingSampler)
    return sampler._sampler


def test_tpe_leaves_the_corner_that_fails():
    space = space_of(name="tpe", startup_trials=10)

    told, untold = propose(space), propose(space, without_penalties)

    assert failures(told) < failures(untold) - 3, (failures(told), failures(untold))
    assert told.best_value < 0.55


def test_the_gaussian_process_looks_for_the_edge_of_a_corner_that_fails_and_stays_out_of_it():
    spaces = [space_of(name="gp", startup_trials=10, seed=seed) for seed in range(3)]

    told = [propose(space) for space in spaces]

    inside = sum(t.params["dropout"] > 0.6 for study in told for t in study.trials[15:])
    assert inside <= 0.2 * 45  # one of five is drawn at random
    assert max(failures(study) for study in told) <= 5
    assert max(study.best_value for study in told) < 0.55


@pytest.mark.parametrize("name", ["tpe", "random", "gp"])
def test_a_proposal_depends_on_the_study_and_the_seed_alone(name):
    space = space_of(name=name, startup_trials=5, seed=3)

    first, second = propose(space), propose(space)

    assert [t.params for t in first.trials] == [t.params for t in second.trials]
    other = propose(space_of(name=name, startup_trials=5, seed=4))
    assert [t.params for t in other.trials] != [t.params for t in first.trials]


@pytest.mark.parametrize("name", ["tpe", "random", "gp"])
def test_any_seed_that_settings_accept_can_be_sampled_with(name):
    study = propose(space_of(name=name, startup_trials=5, seed=2**31 - 1))

    assert len(study.trials) == TRIALS
