import pytest

from tests.experiment.conftest import row, space_of
from tune_encoder.experiment.epoch_row import as_row
from tune_encoder.experiment.running import MOST_LINES, running_lines, running_trials
from tune_encoder.experiment.trials import TrialRecord

NOW = 1_000_000.0
SPACE = space_of(
    budget={"trials": 6, "epochs": 20}, scheduler={"name": "promote", "grace_period": 4}
)


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr("tune_encoder.experiment.running.time.time", lambda: NOW)


def trial(number, epochs, state="RUNNING", since=15.0, **more):
    """A trial whose epochs took a minute each, and whose last one ended a while ago."""
    rows = [
        as_row({**row(number, epoch, 0.5), "objective": 0.5, "recorded_at": NOW - since})
        for epoch in range(1, epochs + 1)
    ]
    return TrialRecord(number, state, rows=rows, **more)


def test_a_running_trial_says_its_epoch_its_scores_its_next_rung_and_its_end():
    [found] = running_trials(SPACE, [trial(3, 2)])

    assert found == {
        "trial": 3,
        "epoch": 2,
        "epochs": 20,
        "scores": {"val_skill": 0.5, "val_loss": 0.5},
        "rung": 4,
        "rung_s": 2 * 60 - 15,
        "left_s": 18 * 60 - 15,
    }
    assert running_lines([found], 80) == [
        "  trial 3  epoch  2/20  skill 0.500  loss 0.500  end in 17:45  rung 4 in 1:45"
    ]


def test_trials_that_wait_at_a_rung_or_have_ended_do_not_run():
    trials = [
        trial(0, 4, paused=True),
        trial(1, 4, "PRUNED"),
        trial(2, 20, "COMPLETE"),
        trial(3, 0),
    ]

    assert [each["trial"] for each in running_trials(SPACE, trials)] == [3]


def test_a_trial_without_an_epoch_has_no_scores_and_no_guess():
    found = running_trials(SPACE, [trial(0, 0)])

    assert (found[0]["scores"], found[0]["rung_s"], found[0]["left_s"]) == ({}, None, None)
    assert running_lines(found, 80) == ["  trial 0  epoch  0/20  first epoch under way"]


def test_an_epoch_under_way_for_long_is_not_taken_for_done():
    """As after a resume, whose trial begins its next epoch again."""
    [found] = running_trials(SPACE, [trial(0, 2, since=86_400.0)])

    assert found["rung_s"] == 60


def test_beyond_the_last_rung_there_is_none():
    [found] = running_trials(SPACE, [trial(0, 13)])

    assert (found["rung"], found["rung_s"]) == (None, None)


def test_the_brackets_of_hyperband_have_other_rungs_so_none_is_said():
    space = space_of(
        budget={"trials": 6, "epochs": 20}, scheduler={"name": "hyperband", "brackets": 2}
    )

    assert running_trials(space, [trial(0, 2)])[0]["rung"] is None


def test_no_line_is_wider_than_the_terminal_whatever_is_in_it():
    metric, budget = {"name": "val_centered_cosine"}, {"trials": 2000, "epochs": 10_000}
    space = space_of(metric=metric, budget=budget)
    more = {"val_centered_cosine": 0.25, "objective": -0.25, "recorded_at": NOW, "seconds": 3600.0}
    rows = [as_row({**row(0, epoch, 0.5), **more}) for epoch in range(1, 101)]
    found = running_trials(space, [TrialRecord(1999, "RUNNING", rows=rows)])

    [line] = running_lines(found, 80)

    assert len(line) <= 80
    assert line == ("  trial 1999  epoch   100/10000  skill 0.500  val_centered_cosine 0.250")


def test_many_trials_have_a_line_that_counts_those_without_one():
    found = running_trials(SPACE, [trial(number, 1) for number in range(MOST_LINES + 3)])

    lines = running_lines(found, 80)

    assert len(lines) == MOST_LINES + 1
    assert lines[9].startswith("  trial  9  ")
    assert lines[-1] == "  and 3 others that run"
