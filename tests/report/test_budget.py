"""Rungs, workers, failures."""

import itertools
from dataclasses import replace

import pytest

from tests.builders import make_search
from tests.report.conftest import (
    EPOCH_S,
    SHOCK,
    SPACE,
    TRAINING_S,
    TRIALS,
    made_search,
    marks,
    numbers,
    tips,
    trials_of,
)
from tune_encoder.report.facts import failure_table, read_facts
from tune_encoder.report.rungs import Rung, rung_bars, rungs
from tune_encoder.report.timeline import Worker, lanes, timeline, trial_spans, workers


def test_spent_and_saved_epochs_add_up_to_those_of_the_status(facts):
    found = rungs(facts)

    assert [(rung.first, rung.last) for rung in found] == [(1, 1), (2, 3), (4, 9)]
    assert sum(rung.spent for rung in found) == facts.status["epochs"]
    assert sum(rung.saved for rung in found) == facts.status["epochs_saved"]
    assert found[-1] == Rung(4, 9, reached=3, spent=18, saved=8 * 6)


def test_where_trials_are_not_compared_at_rungs_the_budget_is_one_bar(tmp_path):
    space = replace(SPACE, scheduler=replace(SPACE.scheduler, name="median"))

    found = rungs(read_facts(make_search(tmp_path, space, TRIALS)))

    assert [(rung.first, rung.last) for rung in found] == [(1, 9)]


def test_each_rung_is_a_bar_of_two_parts(facts):
    figure = rung_bars(facts)

    assert len(marks(figure)) == 2 * 3
    assert tips(figure)[-1] == "epochs 4-9: 18 trained, 48 saved\n3 trials reached the end"
    assert numbers(figure).rows[-1] == ["4-9", "3", "18", "48"]


def test_a_worker_trains_one_trial_after_another(facts):
    found = trial_spans(facts.trials)

    ran = [each for each in found if each.worker == "host:100"]
    with_rows = [n for n in range(0, len(TRIALS), 2) if TRIALS[n][2]]
    assert [each.trial for each in ran] == with_rows
    assert ran[0].start == pytest.approx(0)
    assert ran[0].end == pytest.approx(9 * EPOCH_S - (EPOCH_S - TRAINING_S))
    assert all(a.end <= b.start for a, b in itertools.pairwise(ran))


def test_time_without_training_is_idle(facts):
    for worker in workers(trial_spans(facts.trials)):
        epochs = worker.busy / TRAINING_S
        assert worker.idle == pytest.approx((epochs - 1) * (EPOCH_S - TRAINING_S))


def test_the_timeline_has_a_bar_for_each_span_and_says_who_was_idle(facts):
    figure = timeline(facts)

    found = trial_spans(facts.trials)
    assert sorted(trials_of(figure)) == sorted(each.trial for each in found)
    idle = sum(worker.idle for worker in workers(found))
    assert f"0:{round(idle):02d} were spent" in figure.summary
    assert "2 workers trained, up to 2 at once" in figure.summary


def test_workers_that_followed_one_another_share_a_lane():
    found = [Worker("a", 1, 0, 10, 9), Worker("b", 1, 5, 20, 9), Worker("c", 1, 12, 20, 9)]

    assert lanes(found) == {"a": 0, "b": 1, "c": 0}


def test_epochs_without_worker_or_time_are_left_out_and_counted(tmp_path):
    def without_clock(number, epoch, value):
        from tests.report.conftest import Clock

        row = Clock(SPACE)(number, epoch, value)
        return {**row, "worker": ":"} if number == 0 else row

    facts = read_facts(make_search(tmp_path, SPACE, TRIALS[:3], row_of=without_clock))

    figure = timeline(facts)

    assert 0 not in trials_of(figure)
    assert "9 epochs without a worker or a time are not shown." in figure.summary


def test_a_record_without_workers_says_so(tmp_path):
    figure = timeline(read_facts(make_search(tmp_path, SPACE, TRIALS)))

    assert figure.svg == ""
    assert figure.summary == "The record has no workers or times of epochs."


def test_failures_are_counted_by_their_reason(facts):
    found = failure_table(facts)

    assert found is not None
    assert found.rows == [[SHOCK, "2", "4, 5"]]


def test_without_failures_there_is_no_table(tmp_path):
    facts = read_facts(made_search(tmp_path, [t for t in TRIALS if t[0] != "FAIL"]))

    assert failure_table(facts) is None
