"""What ends a search or lets it wait, without Ray: the wishes of a person, and the budget."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.builders import new_experiment
from tests.tuning.driven import DrivenSearch
from tune_encoder.experiment.control import Controls
from tune_encoder.space import parse_space
from tune_encoder.tuning.driver.steering import take_added_configs

EPOCHS = 4
CONTENT: dict[str, Any] = {
    "budget": {"trials": 3, "epochs": EPOCHS},
    "scheduler": {"name": "none"},
    "searcher": {"name": "random", "closed_form": False},
    "space": {"dropout": {"float": [0.0, 0.4]}},
}


def search_in(folder, value_of=lambda number, epoch: 1 / epoch, **changes):
    space = parse_space({**CONTENT, **changes}, "test", Path())
    return DrivenSearch(new_experiment(folder, "mine", space), space, value_of)


def epochs(search):
    return [[row["epoch"] for row in trial.rows] for trial in search.experiment.trials()]


def states(search):
    return [trial.state for trial in search.experiment.trials()]


WHOLE = [*range(1, EPOCHS + 1)]


@pytest.fixture
def search(tmp_path):
    """Three trials of four epochs on two workers, of which four epochs are done."""
    search = search_in(tmp_path)
    for _ in range(4):
        assert search.step()
    return search


# --- a person's wishes ---------------------------------------------------------------------------


def test_a_paused_search_ends_the_running_epochs_and_no_trial(search):
    Controls(search.experiment).request_pause()

    search.run()

    assert states(search) == ["RUNNING", "RUNNING"]
    assert epochs(search) == [[1, 2, 3], [1, 2, 3]]
    assert not search.steering.stop_reason


def test_a_search_that_is_paused_no_more_goes_on_where_it_was(search):
    Controls(search.experiment).request_pause()
    search.run()
    Controls(search.experiment).clear()

    search.run()

    assert states(search) == ["COMPLETE"] * 3
    assert epochs(search) == [WHOLE] * 3


def test_a_stopped_search_says_that_it_was_asked_to_and_goes_on_at_the_next_launch(search):
    Controls(search.experiment).request_stop()
    search.run()
    assert search.steering.stop_reason == "stopped on request"
    assert epochs(search) == [[1, 2, 3], [1, 2, 3]]
    Controls(search.experiment).clear()

    search.start()
    search.run()

    assert epochs(search) == [WHOLE] * 3


def test_a_trial_that_is_ended_by_hand_ends_after_its_epoch_and_the_others_go_on(search):
    Controls(search.experiment).request_end(0)

    search.run()

    first, *others = search.experiment.trials()
    assert (first.state, first.reason, len(first.rows)) == ("PRUNED", "ended by the user", 3)
    assert [trial.state for trial in others] == ["COMPLETE"] * 2


def test_a_trial_that_waits_at_a_rung_is_ended_by_hand(tmp_path):
    promote = {"name": "asha-promote", "grace_period": 1, "reduction_factor": 2}
    search = search_in(tmp_path, scheduler=promote)
    while not (waits := search.record.paused()):
        search.step()
    Controls(search.experiment).request_end(waits[0])

    search.step()

    ended = search.experiment.trials()[waits[0]]
    assert (ended.state, ended.reason) == ("PRUNED", "ended by the user")


def test_a_config_that_is_added_is_tried_beyond_the_budget(search):
    Controls(search.experiment).request_add({"dropout": 0.25})

    search.run()

    assert search.experiment.read_search()["space"]["budget"]["trials"] == 4
    assert states(search) == ["COMPLETE"] * 4
    assert [trial.settings["dropout"] for trial in search.experiment.trials()].count(0.25) == 1


def test_a_config_that_is_added_to_a_search_that_has_ended_is_work_for_the_next_launch(search):
    search.run()
    search.start()
    assert not search.record.has_work()
    Controls(search.experiment).request_add({"dropout": 0.25})

    take_added_configs(search.record)

    assert search.record.has_work()
    search.run()
    assert states(search) == ["COMPLETE"] * 4


def test_a_config_added_to_a_search_that_stops_waits_for_the_next_launch(search):
    Controls(search.experiment).request_add({"dropout": 0.25})
    Controls(search.experiment).request_stop()

    search.run()

    assert states(search) == ["RUNNING", "RUNNING", "WAITING"]


# --- the budget ----------------------------------------------------------------------------------


def test_a_search_whose_time_is_used_up_ends_its_epochs_and_says_so(tmp_path, monkeypatch):
    search = search_in(tmp_path, budget={**CONTENT["budget"], "time": "90m"})
    search.step()
    later = time.monotonic() + 91 * 60
    monkeypatch.setattr(time, "monotonic", lambda: later)

    search.run()

    assert search.steering.stop_reason == "the time limit of 90m is reached"
    assert epochs(search) == [[1, 2], [1]]


@pytest.mark.parametrize(("metric", "target"), [("val_loss", 0.5), ("val_skill", 0.5)])
def test_a_search_that_reaches_its_target_ends_its_epochs_and_says_so(tmp_path, metric, target):
    values = {"val_loss": lambda number, epoch: 1 / epoch, "val_skill": lambda n, e: 1 - 1 / e}
    changes = {"metric": {"name": metric}, "budget": {**CONTENT["budget"], "target": target}}
    search = search_in(tmp_path, values[metric], **changes)

    search.run()

    assert search.steering.stop_reason == f"{metric} has reached 0.5"
    assert [max(each) for each in epochs(search)] == [3, 2]


# --- rungs ---------------------------------------------------------------------------------------


def test_held_trials_are_promoted_and_the_others_stopped(tmp_path):
    skills = [0.1, 0.6, 0.3, 0.5, 0.2, 0.4]
    search = search_in(
        tmp_path,
        lambda number, epoch: skills[number] + epoch / 100,
        budget={"trials": 6, "epochs": 4},
        scheduler={"name": "asha-promote", "grace_period": 1, "reduction_factor": 2},
        metric={"name": "val_skill"},
    )

    search.run()

    assert [len(each) for each in epochs(search)] == [1, 4, 1, 2, 1, 2]
    assert states(search) == ["PRUNED", "COMPLETE", *["PRUNED"] * 4]
