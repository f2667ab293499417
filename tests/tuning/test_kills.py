from collections import Counter
from dataclasses import replace

import pytest

from tests.benchmarks.kill import kill_searches
from tests.tuning.faults.promises import broken_promises
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.trials import TrialRecord


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheduler", ["promote", pytest.param("asha", marks=pytest.mark.long)])
def test_a_search_killed_twice_loses_and_repeats_nothing(tmp_path, data_dir, scheduler):
    report = kill_searches(tmp_path, data_dir, scheduler, kills=2, linger_s=1.0, seed=1)

    assert report.problems == []
    assert len(report.kills) == 2
    assert max(kill.redone for kill in report.kills) <= 2


def trial(number, losses, state="RUNNING", order=0):
    rows: list[EpochRow] = [
        {"epoch": epoch, "val_loss": loss, "order": order + epoch - 1}
        for epoch, loss in enumerate(losses, start=1)
    ]
    return TrialRecord(number, state, {"dropout": 0.1}, rows)


STOOD = [trial(0, [0.9, 0.8], "PRUNED"), trial(1, [0.7], order=2)]


def test_a_record_that_only_grew_breaks_no_promise():
    assert list(broken_promises(STOOD, [STOOD[0], trial(1, [0.7, 0.6], order=2)])) == []


@pytest.mark.parametrize(
    ("now", "broken"),
    [
        ([STOOD[0], replace(STOOD[1], settings={"dropout": 0.2})], "config changed"),
        ([STOOD[0], trial(1, [0.6], order=2)], "epoch lost or changed"),
        ([STOOD[0], trial(1, [], order=2)], "epoch lost or changed"),
        ([STOOD[0]], "config changed"),
        ([replace(STOOD[0], state="RUNNING"), STOOD[1]], "finished trial repeated"),
        ([STOOD[0], trial(1, [0.7], order=1)], "epoch counted twice"),
        ([STOOD[0], replace(STOOD[1], rows=STOOD[1].rows * 2)], "epoch counted twice"),
    ],
)
def test_each_change_of_what_stood_in_the_record_is_seen(now, broken):
    assert broken in Counter(problem.promise for problem in broken_promises(STOOD, now))
