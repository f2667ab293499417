"""Searches whose trials must keep constraints, on curves and without Ray."""

import optuna
import pytest

from tests.builders import epoch_row, new_experiment, parse_space
from tests.tuning.driven import DrivenSearch
from tune_encoder.experiment.folder import STUDY_NAME
from tune_encoder.experiment.status import is_over, search_status, status_lines
from tune_encoder.experiment.trials import MAX_REFUSED, rank_trials
from tune_encoder.experiment.views import explain_status
from tune_encoder.tuning.driver.launch import _describe_failures
from tune_encoder.tuning.record.stored_study import study_url

SCHEDULERS = ["none", "asha", "promote", "hyperband", "median"]
SEARCHERS = ["tpe", "random", "gp"]
WIDTHS = {"hidden_dim": {"choice": [8, 16, 32, 64]}, "dropout": {"float": [0.0, 0.5]}}
LARGEST = 20_000


def space_of(scheduler="none", searcher="random", trials=12, space=WIDTHS, **constraints):
    limits = constraints or {"parameters": {"max": LARGEST}}
    return parse_space(
        {
            "budget": {"trials": trials, "epochs": 9},
            "scheduler": {"name": scheduler, "brackets": 2},
            "searcher": {"name": searcher, "startup_trials": 4},
            "constraints": limits,
            "space": space,
        }
    )


def size_of(settings):
    return {"parameters": 1000 * settings["hidden_dim"]}


def slowness_of(settings):
    return {"clone_ms": settings["hidden_dim"] / 2}


def loss_of(number, epoch):
    return (1 + number * 7 % 10) / epoch


def searched(folder, space, every=None, known=size_of, measured=size_of, value_of=loss_of):
    search = DrivenSearch(
        new_experiment(folder, "curves", space), space, value_of, 2, known, measured
    )
    search.run() if every is None else search.run_in_pieces(every)
    return search


def widths(search):
    return [(t.settings["hidden_dim"], t.refused) for t in search.experiment.trials()]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_config_that_is_too_large_is_not_trained_and_another_is_drawn(
    tmp_path, scheduler, searcher
):
    search = searched(tmp_path, space_of(scheduler, searcher))

    trials = search.experiment.trials()
    refused = [trial for trial in trials if trial.refused]
    assert refused
    assert all(trial.settings["hidden_dim"] >= 32 for trial in refused)
    assert not any(trial.rows for trial in refused)
    trained = [trial for trial in trials if not trial.refused]
    assert len(trained) == 12
    assert all(trial.settings["hidden_dim"] <= 16 for trial in trained)
    assert is_over(search.space, trials)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_interrupted_again_and_again_it_draws_and_refuses_the_same_configs(tmp_path, searcher):
    space = space_of("promote", searcher)

    whole = searched(tmp_path / "whole", space)
    pieces = searched(tmp_path / "pieces", space, every=3)

    assert pieces.outcome() == whole.outcome()
    assert widths(pieces) == widths(whole)


def test_a_trial_asked_for_but_not_yet_judged_when_the_driver_died_is_judged_at_the_next_launch(
    tmp_path,
):
    space = space_of(space={"hidden_dim": {"choice": [64]}, "dropout": {"float": [0.0, 0.5]}})
    search = DrivenSearch(new_experiment(tmp_path, "curves", space), space, loss_of, 2, size_of)
    search.record.ask()

    search.start()
    search.step()

    assert search.record.trials[0].refused


def test_a_refused_config_says_why_and_optuna_knows_by_how_much(tmp_path):
    search = searched(tmp_path, space_of())

    trial = next(trial for trial in search.experiment.trials() if trial.refused)
    size = trial.settings["hidden_dim"] * 1000
    why = explain_status(trial, search.space, is_running=False)
    assert why == f"parameters is {size:,}, above its maximum of 20,000"
    url = study_url(search.experiment.study_path)
    study = optuna.load_study(study_name=STUDY_NAME, storage=url)
    assert study.trials[trial.number].constraints == {"parameters max": size / LARGEST - 1}
    assert study.best_trial.constraints["parameters max"] <= 0


@pytest.mark.parametrize("searcher", ["tpe", "gp"])
def test_a_model_leaves_the_region_that_breaks_a_constraint(tmp_path, searcher):
    wide = {**WIDTHS, "hidden_dim": {"int": [8, 64]}}

    drawn, proposed = (
        searched(tmp_path / name, space_of(searcher=name, trials=20, space=wide))
        for name in ("random", searcher)
    )

    n_refused = [sum(refused for _, refused in widths(each)) for each in (drawn, proposed)]
    assert n_refused[1] < 0.7 * n_refused[0]


def test_if_no_config_can_be_found_it_ends_and_says_so(tmp_path):
    space = space_of(parameters={"max": 10})

    search = searched(tmp_path, space)

    trials = search.experiment.trials()
    assert len(trials) == MAX_REFUSED
    assert not search.record.has_work()
    assert is_over(space, trials)
    assert _describe_failures(search.record) == (
        f"no trial of curves gave a result: {MAX_REFUSED} trials broke the constraints, the last "
        f"as {trials[-1].reason}"
    )


def test_of_a_grid_nothing_is_drawn_again(tmp_path):
    search = searched(
        tmp_path, space_of(searcher="grid", space={"hidden_dim": {"choice": [8, 16, 32, 64]}})
    )

    assert widths(search) == [(8, False), (16, False), (32, True), (64, True)]
    assert is_over(search.space, search.experiment.trials())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_config_that_is_too_slow_ends_after_the_epoch_that_measured_it(tmp_path, scheduler):
    space = space_of(scheduler, clone_ms={"max": 10})

    search = searched(tmp_path, space, known=lambda settings: {}, measured=slowness_of)

    trials = search.experiment.trials()
    slow = [trial for trial in trials if trial.settings["hidden_dim"] in (32, 64)]
    assert slow
    assert len(trials) == 12  # they count: they were trained
    for trial in slow:
        assert (trial.state, len(trial.rows)) == ("PRUNED", 1)
        assert trial.reason.startswith("clone_ms is ")
        assert not trial.keeps_constraints
    assert all(trial.settings["hidden_dim"] in (8, 16) for trial in rank_trials(trials))


def test_the_best_epoch_is_one_that_keeps_the_constraints(tmp_path):
    space = space_of(val_skill={"max": 0.5})  # in these curves 1 - val_loss

    search = searched(tmp_path, space, measured=lambda settings: {})

    best = rank_trials(search.experiment.trials())[0]
    assert best.best is not None
    assert best.best["val_skill"] <= 0.5
    assert min(row["val_loss"] for row in best.rows) < best.best["val_loss"]
    url = study_url(search.experiment.study_path)
    study = optuna.load_study(study_name=STUDY_NAME, storage=url)
    assert study.best_trial.number == best.number
    assert study.best_value == best.best["val_loss"]


def test_the_status_counts_those_that_break_constraints(tmp_path):
    search = searched(tmp_path, space_of())
    trials = search.experiment.trials()
    refused = sum(trial.refused for trial in trials)

    view = search_status(search.space, trials, None, None)

    assert view["constraints_broken"] == view["trials"]["refused"] == refused
    assert view["trials_ended"] == 12
    assert view["epochs_saved"] == 0
    lines = status_lines(view, unicode=False)
    assert lines[0] == f"trials  12 finished, {refused} refused of 12"
    assert lines[2] == f"limits  broken by {refused} trials, {refused} of them not trained"


def test_the_status_says_that_all_keep_them(tmp_path):
    search = searched(tmp_path, space_of(parameters={"max": 1e6}))

    view = search_status(search.space, search.experiment.trials(), None, None)

    assert "limits  kept by all trials" in status_lines(view, unicode=False)


def test_a_search_in_which_every_trial_breaks_them_has_no_best(tmp_path):
    space = space_of(clone_ms={"max": 1})

    search = searched(tmp_path, space, known=lambda settings: {}, measured=slowness_of)

    assert search.record.best() is None
    assert "12 trials broke the constraints, the last as clone_ms is " in _describe_failures(
        search.record
    )


def test_an_epoch_that_is_trained_again_is_judged_by_what_is_measured_then(tmp_path):
    space = space_of(clone_ms={"max": 20})
    search = DrivenSearch(new_experiment(tmp_path, "curves", space), space, loss_of)
    number = search.record.ask().number
    slow, fast = (epoch_row(1, 0.5, space, clone_ms=ms, seconds=ms) for ms in (22.0, 15.0))

    first = search.record.add_row(number, slow)
    assert first is not None
    assert first["violation"] == pytest.approx(0.1)
    search.record.add_row(number, fast)

    (row,) = search.experiment.trials()[number].rows
    assert (row["clone_ms"], "violation" in row) == (15.0, False)
