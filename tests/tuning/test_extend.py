"""Larger budgets, forks and warm starts, on the record alone: no search is run."""

from pathlib import Path

import optuna
import pytest

from tests.builders import make_search, new_experiment, parse_space
from tests.tuning.driven import DrivenSearch
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.portfolio import choose_portfolio
from tune_encoder.tuning.extend import extend_search
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.warm_start import known_trials

EPOCHS = 4
CONTENT = {
    "budget": {"trials": 6, "epochs": EPOCHS},
    "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 2},
    "searcher": {"name": "random"},
    "space": {"dropout": {"float": [0.0, 0.5]}, "learning_rate": {"float": [1e-4, 1e-2]}},
}
SPACE = parse_space(CONTENT, "test", Path())


def make(root, name, space=SPACE, **more):
    return new_experiment(root, name, space, **more)


def loss_of(number, epoch):
    """Odd trials are worse, and a trial is the better the later it came."""
    return (2.0 if number % 2 else 1.0) / epoch - number / 100


def run(experiment, space):
    """Train what is left, a trial at a time."""
    DrivenSearch(experiment, space, loss_of, workers=1).run()


def states(experiment):
    return [(trial.state, len(trial.rows)) for trial in experiment.trials()]


@pytest.fixture
def finished(tmp_path):
    experiment = make(tmp_path, "old")
    run(experiment, SPACE)
    assert {state for state, _ in states(experiment)} == {"COMPLETE", "PRUNED"}
    return experiment


def test_more_epochs_let_finished_trials_go_on_and_stopped_ones_stay_stopped(finished):
    before = states(finished)

    wider = extend_search(finished, SPACE, {"epochs": 8, "trials": None})
    assert [state for state, _ in states(finished)] == ["RUNNING"] * 6
    run(finished, wider)

    after = states(finished)
    assert finished.read_search()["space"]["budget"]["epochs"] == 8
    for (old, n_before), (new, n_after) in zip(before, after, strict=True):
        if old == "PRUNED":
            assert (new, n_after) == (old, n_before)
    assert ("COMPLETE", 8) in after
    assert all(trial.settings["epochs"] == 8 for trial in finished.trials())
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{finished.study_path}")
    assert [trial.state.name for trial in study.trials] == [state for state, _ in after]
    complete = next(trial for trial in study.trials if trial.state.name == "COMPLETE")
    assert complete.value == min(complete.intermediate_values.values())


def test_another_number_of_trials_at_once_is_stored_and_reopens_nothing(finished):
    before = states(finished)

    wider = extend_search(finished, SPACE, {"concurrent": 2})

    assert wider.resources.concurrent == 2
    assert finished.space().resources.concurrent == 2
    assert states(finished) == before


def test_more_trials_leave_finished_ones_as_they_are(finished):
    before = finished.trials()

    wider = extend_search(finished, SPACE, {"trials": 9})
    run(finished, wider)

    after = finished.trials()
    assert len(after) == 9
    for old, new in zip(before, after, strict=False):
        assert (new.state, len(new.rows)) == (old.state, len(old.rows))


@pytest.mark.parametrize("name", ["promote", "asha-promote"])
def test_more_trials_decide_anew_on_those_that_a_promoting_search_stopped(tmp_path, name):
    scheduler = {"name": name, "grace_period": 1}
    space = parse_space({**CONTENT, "scheduler": scheduler}, "test", Path())
    made = make(tmp_path, "old", space)
    record = Record.open(made, space)
    for number in range(2):
        record.ask()
        record.add_row(number, {"epoch": 1, "val_loss": 1.0, "val_skill": 0.0, "finished": False})
        record.prune(number)

    extend_search(made, space, {"trials": 9})

    assert states(made)[:2] == [("RUNNING", 1)] * 2


def test_fewer_epochs_than_planned_are_refused(finished):
    with pytest.raises(
        ConfigError, match=r"epochs is 3; it must be at least 4, for which trials were"
    ):
        extend_search(finished, SPACE, {"epochs": 3})


def test_a_grid_has_no_further_trials(finished):
    grid = parse_space(
        {
            **CONTENT,
            "searcher": {"name": "grid"},
            "space": {"dropout": {"choice": [0.0, 0.1]}},
        },
        "test",
        Path(),
    )

    assert grid.n_trials == 2
    with pytest.raises(ConfigError, match=r"trials is 9; the grid has only 6 configs, so fork "):
        extend_search(finished, grid, {"trials": 9})


def test_no_change_changes_nothing(finished):
    before = (finished.path / "search.yaml").read_bytes()

    assert extend_search(finished, SPACE, {"epochs": None, "trials": None}) is SPACE
    assert (finished.path / "search.yaml").read_bytes() == before


def test_a_fork_knows_the_trials_that_fit_and_counts_none_of_them(finished):
    narrow = parse_space({**CONTENT, "space": {"dropout": {"float": [0.0, 0.25]}}}, "test", Path())
    fork = make(finished.path.parent, "fork", narrow, forked_from="old")

    record = Record.open(fork, narrow)

    study = optuna.load_study(study_name=None, storage=f"sqlite:///{fork.study_path}")
    known = [trial for trial in study.trials if "from" in trial.user_attrs]
    fitting = [t for t in finished.trials() if t.settings["dropout"] <= 0.25]
    assert 0 < len(fitting) < 6, "all or none fit, so this test shows nothing"
    assert [t.user_attrs["from"] for t in known] == [f"old/{t.number}" for t in fitting]
    assert [t.params for t in known] == [{"dropout": t.settings["dropout"]} for t in fitting]
    assert record.n_started() == 0
    assert all(trial.state == "WAITING" for trial in fork.trials())
    run(fork, narrow)
    assert len(fork.trials()) == 6


def test_a_fork_leaves_out_trials_that_lack_a_value_it_searches_in_its_base(finished):
    searched = {"head_rank": {"int": [8, 16], "when": {"head": "lowrank"}}}
    content = {**CONTENT, "base": {"head": "lowrank"}, "space": searched}
    space = parse_space(content, "test", Path())

    assert {trial.settings["head"] for trial in finished.trials()} == {"joint"}
    assert list(known_trials(finished, space)) == []


def test_a_warm_start_tries_the_best_configs_first(finished):
    other = make(finished.path.parent, "warm", warm_start=["old"])
    best = [start.config for start in choose_portfolio([finished], SPACE)]

    record = Record.open(other, SPACE)
    first = [record.ask().settings for _ in range(3)]

    assert len(best) == 3
    assert [{name: s[name] for name in ("dropout", "learning_rate")} for s in first] == best


def test_the_same_config_in_the_best_trials_is_tried_once_by_a_warm_start(tmp_path):
    old = [
        ("COMPLETE", {"dropout": dropout, "learning_rate": 1e-3}, [dropout])
        for dropout in (0.0, 0.0, 0.0, 0.25, 0.25, 0.375, 0.5)
    ]
    make_search(tmp_path, SPACE, old, name="old")

    warm = Record.open(make(tmp_path, "warm", warm_start=["old"]), SPACE)
    first = [warm.ask().settings["dropout"] for _ in range(4)]

    assert first == [0.0, 0.25, 0.375, SPACE.first_configs()[0]["dropout"]]


def test_an_added_config_is_tried_next_and_raises_the_budget(tmp_path):
    record = Record.open(make(tmp_path, "mine"), SPACE)
    record.ask()
    record.add({"dropout": 0.125, "learning_rate": 1e-3})

    assert record.space.budget.trials == 7
    assert record.experiment.read_search()["space"]["budget"]["trials"] == 7
    assert record.ask().settings["dropout"] == 0.125


def test_another_tracker_is_stored_and_touches_no_trial(finished):
    before = states(finished)

    sent = extend_search(finished, SPACE, {"mlflow": "http://host:5000", "epochs": None})
    stored = finished.space().tracking
    unsent = extend_search(finished, sent, {"mlflow": ""})

    assert stored.mlflow == sent.tracking.mlflow == "http://host:5000"
    assert not unsent.tracking.is_wanted
    assert sent.budget == SPACE.budget
    assert states(finished) == before
