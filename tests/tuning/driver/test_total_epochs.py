"""A search that ends after a number of epochs of all trials, on curves and without Ray."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import new_experiment, parse_space
from tests.tuning.driven import DrivenSearch
from tune_encoder.experiment.status import Launch, is_over, search_status, status_lines
from tune_encoder.space import override_space
from tune_encoder.space.plan import plan_search
from tune_encoder.tuning.extend import extend_search

TOTAL, EPOCHS, WORKERS = 50, 9, 2
SCHEDULERS = ["none", "asha", "promote", "hyperband", "median"]


def space_of(scheduler, **budget):
    content = {
        "budget": {"total_epochs": TOTAL, "epochs": EPOCHS, **budget},
        "scheduler": {"name": scheduler, "grace_period": 1, "reduction_factor": 3, "brackets": 2},
        "searcher": {"name": "random"},
        "space": {"dropout": {"float": [0.0, 0.5]}},
    }
    return parse_space(content, "test", Path())


def loss_of(number, epoch):
    """Trials are good in turns, so that some stop at each rung."""
    return (1 + number * 7 % 10) / epoch


def searched(folder, space, every=None):
    search = DrivenSearch(new_experiment(folder, "curves", space), space, loss_of, WORKERS)
    search.run() if every is None else search.run_in_pieces(every)
    return search


def n_epochs(search):
    return sum(len(losses) for _, _, losses in search.outcome())


def assert_used_up(search, scheduler):
    if scheduler == "none":  # it begins no trial that could not be finished
        assert n_epochs(search) == TOTAL // EPOCHS * EPOCHS
    else:
        assert TOTAL <= n_epochs(search) < TOTAL + WORKERS


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_it_ends_after_these_epochs_and_starts_as_many_trials_as_they_allow(tmp_path, scheduler):
    space = space_of(scheduler)
    search = searched(tmp_path, space)

    assert_used_up(search, scheduler)
    trials = search.experiment.trials()
    assert len(trials) <= space.n_trials
    assert len(trials) >= TOTAL // EPOCHS
    assert is_over(space, trials)
    assert not search.record.has_work()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_interrupted_again_and_again_it_ends_after_as_many(tmp_path, scheduler):
    search = searched(tmp_path, space_of(scheduler), every=4)

    assert_used_up(search, scheduler)


def test_more_epochs_continue_the_trials_that_ran(tmp_path):
    space = space_of("asha")
    search = searched(tmp_path, space)
    unfinished = [trial.number for trial in search.record.unfinished()]
    assert unfinished

    wider = extend_search(search.experiment, space, {"total_epochs": 2 * TOTAL})
    again = DrivenSearch(search.experiment, wider, loss_of, WORKERS)
    again.run()

    assert 2 * TOTAL <= n_epochs(again) < 2 * TOTAL + WORKERS
    ended = {trial.number for trial in search.experiment.trials() if trial.state != "RUNNING"}
    assert ended.issuperset(unfinished)


def test_a_number_of_trials_is_a_limit_too(tmp_path):
    space = space_of("none", trials=3)
    search = searched(tmp_path, space)

    assert n_epochs(search) == 3 * EPOCHS
    assert is_over(space, search.experiment.trials())


def test_the_closed_form_takes_one_epoch_of_them():
    space = space_of("none")
    with_it = replace(space, searcher=replace(space.searcher, closed_form=True))

    assert (space.n_trials, with_it.n_trials) == (TOTAL // EPOCHS, 1 + (TOTAL - 1) // EPOCHS)


def test_on_the_command_line_it_replaces_a_number_of_trials():
    space = parse_space(
        {"budget": {"trials": 3, "epochs": 9}, "space": {"dropout": {"float": [0.0, 0.5]}}},
        "test",
        Path(),
    )

    given = override_space(space, {"budget": {"total_epochs": 90}}, "command line")
    both = override_space(space, {"budget": {"total_epochs": 90, "trials": 5}}, "command line")
    more = override_space(both, {"budget": {"total_epochs": 900}}, "command line")

    assert (given.budget.trials, given.n_trials) == (0, 90)
    assert (both.n_trials, more.n_trials) == (5, 5)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_it_is_planned_with_as_many_trials_as_fit(scheduler):
    plan = plan_search(space_of(scheduler))
    more = plan_search(space_of(scheduler, total_epochs=0, trials=plan.trials + 1))

    assert plan.total_epochs <= TOTAL < more.total_epochs


def test_the_status_counts_its_epochs_and_tells_the_time_by_them(tmp_path):
    space = space_of("asha")
    search = searched(tmp_path, space)
    trials = search.experiment.trials()
    wider = space_of("asha", total_epochs=2 * TOTAL)

    view = search_status(wider, trials, Launch(100.0, 0, 25), None)

    lines = status_lines(view, unicode=False)
    assert " of " not in lines[0]
    assert lines[1].startswith(f"epochs  {n_epochs(search)} of {2 * TOTAL} done, ")
    assert view["time"]["left_s"] == pytest.approx(4.0 * (2 * TOTAL - n_epochs(search)))
