"""A search that promotes, killed at any of its writes, without Ray: two workers on curves."""

import itertools
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from tests.builders import new_experiment, parse_space
from tests.tuning.driven import DrivenSearch
from tune_encoder.space import override_space
from tune_encoder.tuning.driver.early_stopping import PromotionRule
from tune_encoder.tuning.record.restore import restore

N_TRIALS, N_STARTUP, EPOCHS, WORKERS = 9, 4, 9, 2
CONTENT = {
    "budget": {"trials": N_TRIALS, "epochs": EPOCHS},
    "scheduler": {"name": "asha-promote", "grace_period": 1, "reduction_factor": 3},
    "searcher": {"name": "tpe", "startup_trials": N_STARTUP},
    "space": {
        "learning_rate": {"float": [1.0e-4, 1.0e-2], "log": True},
        "hidden_dim": {"choice": [8, 16, 32, 48]},
        "num_layers": {"int": [1, 4]},
        "dropout": {"float": [0.0, 0.4]},
    },
}
SPACE = parse_space(CONTENT)
# Of each trial; they fall, with a noise by which the order of the trials changes.
_RANDOM = np.random.default_rng(4)
LOSSES = (
    _RANDOM.random((64, 1))
    + 2 / np.arange(1, EPOCHS + 1)
    + 0.05 * _RANDOM.standard_normal((64, EPOCHS))
).tolist()


def changed(space, **sections):
    """The space with other values in some of its sections."""
    return override_space(space, sections, "test")


METHODS = (("asha-promote", "tpe"), ("promote", "random"), ("promote", "gp"))
SPACES = {
    f"{scheduler}+{searcher}": changed(
        SPACE, scheduler={"name": scheduler}, searcher={"name": searcher}
    )
    for scheduler, searcher in METHODS
}
STARTS = [{"learning_rate": rate, "hidden_dim": 8} for rate in (1e-3, 2e-3, 3e-3, 4e-3)]
SPACES["starts"] = parse_space(
    {
        **CONTENT,
        "scheduler": {"name": "promote", "grace_period": 1, "reduction_factor": 3},
        "searcher": {"name": "random", "closed_form": False},
        "start": STARTS,
    }
)
WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_state_values",
)


class Killed(BaseException):
    """What no code of ours may catch."""


def search_in(folder, space=SPACE, losses=LOSSES, **content):
    experiment = new_experiment(folder, "curves", space, **content)
    return DrivenSearch(experiment, space, lambda number, epoch: losses[number][epoch - 1], WORKERS)


@contextmanager
def counting_writes(search, kill_at=None):
    """Count what is written to the study, and end the program at a write if asked to."""
    writes = []

    def counted(write):
        def wrapper(*arguments, **named):
            writes.append(write)
            if len(writes) == kill_at:
                raise Killed
            return write(*arguments, **named)

        return wrapper

    study = search.record._study
    stored = [study._file, *([study._database.study] if study._database else [])]
    with pytest.MonkeyPatch.context() as patch:
        for storage, name in itertools.product([each.storage for each in stored], WRITES):
            patch.setattr(storage, name, counted(getattr(storage, name)))
        yield writes


@pytest.fixture(scope="module", params=SPACES)
def uninterrupted(tmp_path_factory, request):
    """Its space, its outcome and how often it wrote."""
    space = SPACES[request.param]
    search = search_in(tmp_path_factory.mktemp("whole"), space)
    with counting_writes(search) as writes:
        search.run()
    return SimpleNamespace(space=space, outcome=search.outcome(), n_writes=len(writes))


def test_of_nine_trials_three_go_on_and_one_goes_to_the_end(tmp_path):
    search = search_in(tmp_path)
    search.run()
    outcome = search.outcome()

    assert sorted(len(losses) for _, _, losses in outcome) == [1] * 6 + [3] * 2 + [9]
    assert [state for state, _, _ in outcome if state != "PRUNED"] == ["COMPLETE"]


@pytest.mark.parametrize("kill_at", range(1, 16))
def test_a_start_config_is_tried_though_the_search_was_killed_as_it_began(tmp_path, kill_at):
    budget = {"trials": 2, "epochs": 3}
    search = search_in(tmp_path, changed(SPACES["starts"], budget=budget))
    with counting_writes(search, kill_at), pytest.raises(Killed):
        search.run()
    search.start()
    search.run()

    assert "FAIL" not in [trial.state for trial in search.experiment.trials()]


@pytest.mark.parametrize("every", [1, 3])
def test_a_search_resumed_again_and_again_promotes_as_an_uninterrupted_one(
    uninterrupted, tmp_path, every
):
    search = search_in(tmp_path, uninterrupted.space)
    search.run_in_pieces(every)

    assert search.outcome() == uninterrupted.outcome


@pytest.mark.parametrize("tenth", range(10))
def test_a_search_killed_at_a_write_goes_on_as_if_it_never_was(uninterrupted, tmp_path, tenth):
    search = search_in(tmp_path, uninterrupted.space)
    kill_at = 1 + tenth + tenth * uninterrupted.n_writes // 11
    with counting_writes(search, kill_at), pytest.raises(Killed):
        search.run()
    search.start()
    search.run()

    assert search.outcome() == uninterrupted.outcome


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("third", [0, 2])
def test_a_search_killed_at_a_write_to_either_database_goes_on_as_if_it_never_was(
    uninterrupted, tmp_path, third, is_lost
):
    url = f"sqlite:///{tmp_path}/record.db"
    search = search_in(tmp_path, uninterrupted.space, record=url)
    kill_at = 20 + third + third * 2 * uninterrupted.n_writes // 4
    with counting_writes(search, kill_at), pytest.raises(Killed):
        search.run()
    if is_lost:
        shutil.rmtree(search.experiment.path)
        restore(search.experiment.path, url)
    search.start()
    search.run()

    assert search.outcome() == uninterrupted.outcome
    search.close()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_with_promotion_first_the_best_so_far_goes_on_before_the_next_trial(tmp_path, workers):
    losses = [[1.0 - number / 10] * EPOCHS for number in range(N_TRIALS)]  # each is the best so far
    search = search_in(tmp_path, SPACES["promote+random"], losses)
    search.workers = workers
    n_started = []
    while search.step():
        if not n_started and any(trial.promoted for trial in search.record.trials.values()):
            n_started.append(len(search.record.trials))

    assert n_started[0] < 3 + workers
    assert all(len(trial.rows) in (1, 3, EPOCHS) for trial in search.record.trials.values())


def test_a_trial_is_not_promoted_before_its_worker_has_let_go_of_it(tmp_path):
    """The last of three is the best, and with the second worker idle Tune asks at once."""
    losses = [[0.9] * EPOCHS, [0.8] * EPOCHS, [0.1] * EPOCHS]
    search = search_in(tmp_path, changed(SPACE, budget={"trials": 3}), losses)
    search.run()

    assert [len(trial.rows) for trial in search.experiment.trials()] == [1, 1, EPOCHS]


def test_a_promoted_trial_goes_on_at_a_resume_and_does_not_wait_again(tmp_path):
    search = search_in(tmp_path)
    while not (promoted := [n for n, t in search.record.trials.items() if t.promoted == 1]):
        search.step()
    (number,) = promoted
    assert len(rows_of(search, number)) == 1, "it was trained on already, so this shows nothing"

    search.start()

    assert number in search.record.running()


def test_a_trial_that_an_older_version_paused_between_two_rungs_goes_on_to_the_next(tmp_path):
    search = search_in(tmp_path, changed(SPACE, scheduler={"reduction_factor": 2.5}))
    search.scheduler.rule = PromotionRule([1, 2, 6], 2.5)  # the nearest whole epochs
    while not (waits := [n for n in search.record.paused() if len(rows_of(search, n)) == 2]):
        search.step()

    search.start()
    search.run()

    assert all(len(rows_of(search, number)) > 2 for number in waits)
    assert {state for state, *_ in search.outcome()} == {"COMPLETE", "PRUNED"}
    assert {len(losses) for *_, losses in search.outcome()} == {1, 3, EPOCHS}


def rows_of(search, number):
    return search.record.trials[number].rows


@pytest.mark.parametrize(
    ("method", "known"),
    [
        ("asha-promote+tpe", N_STARTUP + WORKERS - 1),  # one more runs when so many have reported
        ("promote+gp", N_STARTUP),  # it learns from those that run, too
    ],
)
def test_the_sampler_learns_from_trials_that_wait_at_a_rung(tmp_path, method, known):
    learned, at_random = (
        configs_of(tmp_path / f"{n}", changed(SPACES[method], searcher={"startup_trials": n}))
        for n in (N_STARTUP, N_TRIALS)
    )

    assert learned[:known] == at_random[:known]
    assert all(a != b for a, b in zip(learned[known:], at_random[known:], strict=True))


def configs_of(folder, space):
    search = search_in(folder, space)
    search.run()
    return [settings for _, settings, _ in search.outcome()]
