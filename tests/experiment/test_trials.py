import os
import sqlite3
from contextlib import closing

import optuna
import pytest

from tests.builders import SPACE, MadeSearch, epoch_row, make_search, new_experiment
from tune_encoder.errors import StorageError
from tune_encoder.experiment.epoch_row import score_of
from tune_encoder.experiment.folder import (
    CHECKPOINT_NAME,
    STUDY_NAME,
    Experiment,
)
from tune_encoder.experiment.trials import TrialRecord, best_trial, needed_checkpoints


def test_a_few_fields_of_each_row_read_as_they_do_among_all(root):
    whole, part = Experiment(root / "mine").trials(), Experiment(root / "mine").trials(["seconds"])

    names = ("epoch", "objective", "val_loss", "seconds")
    assert [t.rows for t in part] == [
        [{name: score_of(row, name) for name in names} for row in t.rows] for t in whole
    ]
    assert [(t.number, t.state, t.settings, t.reason) for t in part] == [
        (t.number, t.state, t.settings, t.reason) for t in whole
    ]


def test_one_trial_reads_as_it_does_among_all(root):
    experiment = Experiment(root / "mine")

    assert [experiment.trial(number) for number in range(6)] == experiment.trials()
    assert experiment.trial(6) is None


def test_a_trial_that_ended_says_when(root):
    began = (root / "mine" / "search.yaml").stat().st_mtime

    ended_at = [trial.ended_at for trial in Experiment(root / "mine").trials()]

    assert [at is not None for at in ended_at] == [True, True, True, True, False, False]
    assert all(0 <= at - began < 60 for at in ended_at[:4])


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A complete, a pruned, a failed and a running trial; not to be changed."""
    made = MadeSearch(tmp_path_factory.mktemp("runs"))
    made.trial([0.9, 0.4, 0.5], "COMPLETE")
    made.trial([0.8, 0.7], "PRUNED")
    made.trial([0.3], "FAIL", "the loss is NaN")
    made.trial([0.6] * 11)
    return made.experiment


def test_trials_read_without_optuna_are_as_optuna_reads_them(experiment):
    study = optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{experiment.study_path}")

    read = experiment.trials()

    assert [t.number for t in read] == [t.number for t in study.trials] == [0, 1, 2, 3]
    for ours, theirs in zip(read, study.trials, strict=True):
        assert ours.state == theirs.state.name
        assert {r["epoch"]: r["val_loss"] for r in ours.rows} == theirs.intermediate_values
        assert ours.settings["dropout"] == theirs.params["dropout"]
    assert study.trials[0].value == read[0].best["val_loss"] == 0.4


def test_each_trial_has_its_state_its_rows_in_order_and_why_it_failed(experiment):
    complete, pruned, failed, running = experiment.trials()

    assert [t.state for t in (complete, pruned, failed, running)] == [
        "COMPLETE",
        "PRUNED",
        "FAIL",
        "RUNNING",
    ]
    assert [r["val_loss"] for r in pruned.rows] == [0.8, 0.7]
    assert [r["epoch"] for r in running.rows] == list(range(1, 12))
    assert (failed.reason, complete.reason) == ("the loss is NaN", "")


def test_the_best_trial_is_that_of_the_lowest_loss_among_those_that_did_not_fail(experiment):
    best = best_trial(experiment.trials())

    assert best is not None
    assert best.best is not None
    assert (best.number, best.best["epoch"]) == (0, 2)


def test_the_best_epoch_of_a_trial_follows_its_rows_as_they_come(tmp_path):
    made = MadeSearch(tmp_path)
    number = made.record.ask().number
    trial, found = made.record.trials[number], []
    for epoch, value in enumerate([0.9, 0.4, 0.6], start=1):
        made.record.add_row(number, made.row_of(number, epoch, value))
        best = made.record.trials[number].best
        assert best is not None
        found.append(best["epoch"])

    assert found == [1, 2, 2]
    assert trial.rows == made.record.trials[number].rows


def test_without_a_result_there_is_no_best_trial():
    assert best_trial([]) is None
    failed = TrialRecord(1, "FAIL", {}, [epoch_row(1, 0.5)])
    assert best_trial([TrialRecord(0, "RUNNING"), failed]) is None


def test_a_record_is_read_where_nothing_may_be_written(tmp_path, monkeypatch):
    made = make_search(tmp_path, SPACE, [("COMPLETE", {"dropout": 0.2}, [0.9, 0.5])])
    assert not made.study_path.with_name("study.db-wal").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root

    (trial,) = made.trials()

    assert len(trial.rows) == 2
    assert not made.study_path.with_name("study.db-wal").exists()


def test_a_damaged_record_is_refused_by_name(tmp_path):
    made = new_experiment(tmp_path)
    made.study_path.write_bytes(b"no database, but long enough to be taken for one" * 100)

    with pytest.raises(StorageError, match=r"study\.db: cannot be read \(.*not a database"):
        made.trials()


def test_reading_does_not_write(experiment):
    with closing(sqlite3.connect(experiment.study_path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = experiment.study_path.read_bytes()

    experiment.trials()

    assert experiment.study_path.read_bytes() == before


def test_rows_without_a_checkpoint_are_passed_over(tmp_path):
    made = new_experiment(tmp_path)

    trial = TrialRecord(0, "RUNNING", {}, [epoch_row(n, 0.5) for n in range(4)])

    assert needed_checkpoints(trial) == set()
    assert made.checkpoint_file(epoch_row(1, 0.5)) is None
    assert made.checkpoint_files(0) == []


@pytest.mark.parametrize(
    ("state", "epochs_kept"), [("RUNNING", [1, 4, 5]), ("COMPLETE", [1, 5]), ("PRUNED", [1, 5])]
)
def test_the_best_and_last_checkpoint_stay_and_of_a_running_trial_the_one_before(
    tmp_path, state, epochs_kept
):
    made = new_experiment(tmp_path)
    losses = [0.9, 0.2, 0.5, 0.4, 0.6, 0.7]
    rows = [
        epoch_row(n, loss, checkpoint=f"1/0003/checkpoint_{n:06d}") for n, loss in enumerate(losses)
    ]
    for each in rows:
        file = made.checkpoint_file(each)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")

    needed = needed_checkpoints(TrialRecord(3, state, {}, rows))
    for name in {*made.checkpoint_names()} - needed:
        made.remove_checkpoint(name)

    kept = [file.parent.name for file in made.checkpoint_files(3)]
    assert kept == [f"checkpoint_{epoch:06d}" for epoch in epochs_kept]
    assert {file.name for file in made.checkpoint_files(3)} == {CHECKPOINT_NAME}
