from pathlib import Path

import pytest

from tests.builders import parse_space
from tune_encoder.config import ResourceSettings
from tune_encoder.space.plan import (
    Plan,
    Rung,
    bracket_rungs,
    n_concurrent_trials,
    plan_search,
    rung_epochs,
    successive_halving,
)


def space_of(**content):
    return parse_space(content, "space.yaml", Path())


def plan_of(**content):
    return plan_search(space_of(**content))


@pytest.mark.parametrize(
    ("trials", "ends", "spent"),
    # of 216 and of 1728, computed by hand
    [(24, [1, 3, 9], 52), (64, [1, 3, 9, 27], 184)],
)
def test_successive_halving_spends_what_it_is_known_to(trials, ends, spent):
    assert sum(rung.spent for rung in successive_halving(trials, ends, 3)) == spent


def test_a_rung_has_its_trials_and_the_epochs_since_the_one_before():
    assert successive_halving(16, [2, 6, 18], 3) == [
        Rung(16, 2, 32),
        Rung(5, 6, 20),
        Rung(1, 18, 12),
    ]


def test_at_least_one_trial_goes_on_from_every_rung():
    assert [rung.trials for rung in successive_halving(2, [1, 3, 9, 27], 3)] == [2, 1, 1, 1]


def test_a_rung_at_a_fraction_of_an_epoch_is_met_after_it():
    plan = plan_of(budget={"trials": 10, "epochs": 4}, scheduler={"reduction_factor": 1.5})

    assert plan.brackets == [
        [Rung(10, 1, 10), Rung(6, 2, 6), Rung(4, 3, 4), Rung(2, 4, 2)],
    ]


def test_a_grace_period_of_all_epochs_stops_nobody():
    plan = plan_of(budget={"trials": 5, "epochs": 9}, scheduler={"grace_period": 9})

    assert plan.brackets == [[Rung(5, 9, 45)]]


@pytest.mark.parametrize(
    ("grace", "factor", "epochs", "rungs"),
    [
        (1, 3, 9, [1, 3]),
        (2, 3, 18, [2, 6]),
        (3, 3, 81, [3, 9, 27]),
        (2, 3, 20, [2, 6, 18]),
        (1, 2, 9, [1, 2, 4, 8]),
        (1, 2.5, 27, [1, 3, 7, 16]),  # 1, 2.5, 6.25, 15.6: each at the next whole epoch
        (2, 1.5, 6, [2, 3, 5]),
        (1, 1.25, 8, [1, 2, 3, 4, 5, 6, 7]),  # 1.25, 1.56 and 1.95 are all due at the second
        (5, 3, 5, []),
    ],
)
def test_rungs_are_the_grace_period_times_powers_of_the_factor_below_the_last_epoch(
    grace, factor, epochs, rungs
):
    scheduler = {"grace_period": grace, "reduction_factor": factor}

    assert rung_epochs(space_of(budget={"epochs": epochs}, scheduler=scheduler)) == rungs


@pytest.mark.parametrize("name", ["median", "none"])
def test_a_scheduler_that_does_not_halve_has_no_rungs(name):
    assert rung_epochs(space_of(scheduler={"name": name})) == []


def test_each_bracket_of_hyperband_leaves_out_one_more_of_the_first_rungs():
    scheduler = {"name": "hyperband", "brackets": 3, "reduction_factor": 2.5}
    space = space_of(budget={"epochs": 27}, scheduler=scheduler)

    assert bracket_rungs(space) == [[1, 3, 7, 16], [3, 7, 16], [7, 16]]
    assert rung_epochs(space) == [1, 3, 7, 16]


@pytest.mark.parametrize("name", ["asha", "promote", "asha-promote"])
def test_all_kinds_of_asha_are_planned_as_ideal_halving(name):
    plan = plan_of(budget={"trials": 24, "epochs": 9}, scheduler={"name": name, "grace_period": 1})

    assert plan.brackets == [successive_halving(24, [1, 3, 9], 3)]
    assert (plan.total_epochs, plan.full_epochs) == (52, 216)


@pytest.mark.parametrize("name", ["none", "median"])
def test_without_rungs_every_trial_is_planned_in_full(name):
    plan = plan_of(budget={"trials": 5, "epochs": 9}, scheduler={"name": name})

    assert plan.brackets == [[Rung(5, 9, 45)]]
    assert plan.total_epochs == plan.full_epochs == 45


def test_hyperband_deals_trials_evenly_to_brackets_that_begin_later_and_later():
    plan = plan_of(
        budget={"trials": 8, "epochs": 9}, scheduler={"name": "hyperband", "brackets": 3}
    )

    assert plan.brackets == [
        successive_halving(3, [1, 3, 9], 3),
        successive_halving(3, [3, 9], 3),
        successive_halving(2, [9], 3),
    ]


def test_a_bracket_without_a_trial_is_left_out():
    plan = plan_of(
        budget={"trials": 2, "epochs": 9}, scheduler={"name": "hyperband", "brackets": 3}
    )

    assert [bracket[0].trials for bracket in plan.brackets] == [1, 1]


@pytest.mark.parametrize(("budget", "planned"), [(10, 6), (4, 4)])
def test_a_grid_is_planned_with_no_more_trials_than_it_has_points(budget, planned):
    searched = {"num_layers": {"int": [2, 4], "step": 1}, "use_amp": {"choice": [True, False]}}

    plan = plan_of(
        budget={"trials": budget, "epochs": 1}, searcher={"name": "grid"}, space=searched
    )

    assert plan.trials == planned


@pytest.mark.parametrize(("trials", "seeds", "runs"), [(9, 1, 0), (9, 3, 6), (2, 3, 4)])
def test_further_seeds_confirm_the_three_best_configs_in_full(trials, seeds, runs):
    plan = plan_of(
        budget={"trials": trials, "epochs": 4, "seeds": seeds}, scheduler={"name": "none"}
    )

    assert plan.confirmations == runs
    assert plan.total_epochs == plan.full_epochs == 4 * (trials + runs)


# --- time, disk, workers -------------------------------------------------------------------------

PLAN = Plan([successive_halving(24, [1, 3, 9], 3)], trials=24, epochs=9, confirmations=0)


@pytest.mark.parametrize(("workers", "epochs"), [(1, 52), (2, 26), (4, 13), (100, 9)])
def test_time_is_shared_by_the_workers_but_a_trial_is_not(workers, epochs):
    assert PLAN.seconds(2.0, workers) == 2.0 * epochs


def test_confirmations_come_after_the_search():
    plan = Plan(PLAN.brackets, trials=24, epochs=9, confirmations=6)

    assert plan.seconds(2.0, 1) == 2.0 * (52 + 6 * 9)
    assert plan.seconds(2.0, 100) == 2.0 * (9 + 9)


def test_disk_holds_the_kept_checkpoints_of_every_run():
    plan = Plan(PLAN.brackets, trials=24, epochs=9, confirmations=6)

    assert PLAN.disk_bytes(1000, keep=2) == 48_000
    assert plan.disk_bytes(1000, keep=3) == 90_000


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "expected"),
    [
        ({}, 4, 0, 4),
        ({"cpus": 2}, 5, 0, 2),
        ({"cpus": 8}, 4, 0, 0),
        ({"concurrent": 3}, 4, 0, 3),
        ({"concurrent": 9}, 4, 0, 4),
        ({"gpus": 0.25}, 16, 1, 4),
        ({"gpus": 0.25}, 2, 1, 2),
        ({"gpus": 2}, 16, 5, 2),
        ({"gpus": 1}, 16, 0, 0),
    ],
)
def test_as_many_trials_run_at_once_as_fit_and_are_allowed(resources, cpus, gpus, expected):
    assert n_concurrent_trials(ResourceSettings(**resources), cpus, gpus) == expected
