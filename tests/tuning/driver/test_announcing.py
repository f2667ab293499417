import pytest

from tests.builders import MadeSearch
from tune_encoder.system.events import listening
from tune_encoder.tuning.driver.announcing import Announcer, announce_start


@pytest.fixture
def made(tmp_path):
    """A search with one trial that has ended and one that runs."""
    made = MadeSearch(tmp_path)
    made.trial([0.6, 0.5], "COMPLETE")
    made.trial([0.9])
    return made


@pytest.fixture
def told():
    """The events, each with its values."""
    told = []
    with listening(lambda event, values: told.append((event, values))):
        yield told


def briefly(told):
    names = ("trial", "epoch", "value", "state")
    return [(event, *(values[name] for name in names if name in values)) for event, values in told]


def test_only_what_is_new_is_told_in_the_order_of_the_record(made, told):
    announcer = Announcer(made.record)
    announcer.on_step_end(1, [])
    assert told == []

    number = made.trial([0.7, 0.4, 0.45], "COMPLETE")
    announcer.on_step_end(2, [])
    announcer.on_step_end(3, [])

    assert briefly(told) == [
        ("trial_started", number),
        ("epoch", number, 1, 0.7),
        ("epoch", number, 2, 0.4),
        ("epoch", number, 3, 0.45),
        ("best", number, 2, 0.4),
        ("trial_ended", number, "finished"),
    ]
    assert {values["experiment"] for _, values in told} == {"mine"}


def test_a_config_that_waits_for_a_worker_has_not_started(made, told):
    announcer = Announcer(made.record)
    assert made.record.add({"dropout": 0.25})

    announcer.on_step_end(1, [])
    assert told == []

    number = made.trial([0.7])
    announcer.on_step_end(2, [])
    assert briefly(told)[0] == ("trial_started", number)
    assert told[0][1]["settings"] == {"dropout": 0.25}


def test_a_trial_that_fails_is_told_with_its_reason(made, told):
    announcer = Announcer(made.record)

    made.trial([], "FAIL", "TrainingDiverged: the loss is nan")
    announcer.on_step_end(1, [])

    event, values = told[-1]
    assert (event, values["state"], values["best"]) == ("trial_ended", "failed", None)
    assert values["reason"] == "TrainingDiverged: the loss is nan"


def test_the_close_tells_what_came_last_and_how_to_resume_what_is_left(made, told):
    announcer = Announcer(made.record)

    made.record.add_row(1, made.row_of(1, 2, 0.8))
    announcer.close()

    assert [event for event, _ in told] == ["epoch", "saved"]
    saved = told[-1][1]
    assert (saved["trials_ended"], saved["epochs"]) == (1, 4)
    assert saved["resume"] == made.experiment.command("resume")


def test_the_start_of_a_resumed_search_tells_what_is_known(made, told):
    announce_start(made.record)

    [(event, values)] = told
    assert (event, values["trials_ended"], values["epochs"]) == ("start", 1, 3)
    assert (values["best"]["trial"], values["best"]["value"]) == (0, 0.5)
