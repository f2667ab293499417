import dataclasses

import pytest

from tests.builders import MadeSearch, epoch_row
from tests.experiment.conftest import space_of
from tune_encoder.experiment.metrics import (
    BEST,
    CLIPS,
    EPOCHS,
    FAILURES,
    METRICS,
    SAVED,
    SECONDS,
    SKILL,
    TRIALS,
    SearchMetrics,
)
from tune_encoder.experiment.status import search_status
from tune_encoder.experiment.trials import TrialRecord

PARTS = {"seconds": 10.0, "step_seconds": 6.0, "predict_seconds": 1.0, "score_seconds": 0.5}


@pytest.fixture
def made(tmp_path):
    return MadeSearch(
        tmp_path,
        space_of(),
        row_of=lambda number, epoch, value: epoch_row(epoch, value, clips_per_s=4.0, **PARTS),
    )


def values_of(space, trials):
    return named(SearchMetrics(space).values(trials))


def named(values):
    return {(value.metric, value.tag): value.number for value in values}


def test_a_search_that_has_not_begun_has_no_best_epoch_and_nothing_else(made):
    values = values_of(made.space, made.record.trials.values())

    assert {metric for metric, _ in values} == {*METRICS} - {BEST, SKILL}
    assert set(values.values()) == {0}


def test_the_metrics_are_those_of_the_status(made):
    made.trial([0.9, 0.5, 0.6, 0.55], "COMPLETE")
    made.trial([0.95, 0.9], "PRUNED")
    made.trial([0.1], "FAIL", "TrainingDiverged: the loss is nan")  # no best epoch
    made.trial([0.7])
    trials = [*made.record.trials.values()]
    values, status = values_of(made.space, trials), search_status(made.space, trials, None, None)
    best = status["best"]

    assert best is not None
    assert values[BEST, "val_loss"] == best["value"] == 0.5
    assert values[SKILL, ""] == best["skill"] == 0.5
    assert values[EPOCHS, ""] == status["epochs"] == 8
    assert values[SAVED, ""] == status["epochs_saved"] == 2
    states = {state: n for (metric, state), n in values.items() if metric is TRIALS and n}
    assert states == {"finished": 1, "stopped early": 1, "failed": 1, "running": 1}


def test_the_seconds_and_clips_of_epochs_are_added_up_by_kind_of_work(made):
    made.trial([0.9, 0.5], "COMPLETE")
    values = values_of(made.space, made.record.trials.values())

    work = {kind: n for (metric, kind), n in values.items() if metric is SECONDS}
    assert work == {"train": 12.0, "predict": 2.0, "score": 1.0, "other": 5.0}
    assert values[CLIPS, ""] == pytest.approx(2 * 4.0 * 8.5)  # a second of training has four


def test_failed_trials_and_restarts_of_others_are_failures(made):
    made.trial([], "FAIL", "TrainingDiverged: the loss is nan")
    # Its worker died after the first epoch, and in the launch that resumed it after the third.
    rows = [
        epoch_row(epoch, 0.5, attempt=attempt)
        for epoch, attempt in enumerate([1, 2, 1, 2, 2], start=1)
    ]
    trials = [*made.record.trials.values(), TrialRecord(9, "RUNNING", rows=rows)]

    assert values_of(made.space, trials)[FAILURES, ""] == 1 + 2


def test_reading_as_a_search_goes_on_gives_what_reading_at_its_end_gives(made):
    metrics = SearchMetrics(made.space)
    for values, state in (([0.9], "RUNNING"), ([0.5, 0.4], "COMPLETE"), ([0.1], "FAIL")):
        made.trial(values, state)
        so_far = metrics.values(made.record.trials.values())
    made.record.add_row(0, made.row_of(0, 2, 0.3))
    made.record.add_row(0, made.row_of(0, 2, 0.3))  # repeated by a worker that was restarted
    at_end = named(metrics.values(made.record.trials.values()))

    assert named(so_far)[BEST, "val_loss"] == 0.4
    assert at_end == values_of(made.space, made.record.trials.values())
    assert (at_end[BEST, "val_loss"], at_end[EPOCHS, ""]) == (0.3, 5)


def test_the_best_epoch_keeps_the_constraints_and_a_higher_metric_may_be_better(tmp_path):
    space = space_of(
        metric={"name": "val_skill", "mode": "max"}, constraints={"clone_ms": {"max": 5.0}}
    )
    rows = [
        epoch_row(1, 0.9, space, violation=1.0),
        epoch_row(2, 0.4, space),
        epoch_row(3, 0.3, space),
    ]
    values = values_of(space, [TrialRecord(0, "RUNNING", rows=rows)])
    refused = dataclasses.replace(TrialRecord(0, "PRUNED", rows=rows), refused=True)
    breaking = TrialRecord(0, "RUNNING", rows=rows[:1])

    assert values[BEST, "val_skill"] == 0.4
    for trial in (refused, breaking):
        assert not {BEST, SKILL} & {metric for metric, _ in values_of(space, [trial])}


def test_every_name_is_one_that_prometheus_takes_and_says_what_it_counts():
    assert len({metric.exported for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.isidentifier()
        assert metric.exported.startswith("ray_tune_encoder_")
        assert metric.exported.endswith("_total") == metric.counts
