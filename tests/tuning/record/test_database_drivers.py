"""Who writes a record to a database: two drivers, and a database that is away; no search is run."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState
from sqlalchemy import create_engine

from tests.builders import worker_settings
from tests.tuning.lost import CONTENT
from tests.tuning.records import add, filled, make, opened, seen, stored, train
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.control import Controls
from tune_encoder.tuning.driver.recording_scheduler import RecordingScheduler
from tune_encoder.tuning.driver.searcher import StudySearcher
from tune_encoder.tuning.driver.steering import Steering
from tune_encoder.tuning.record import database as database_module
from tune_encoder.tuning.record.database import Database, check_record_free
from tune_encoder.tuning.start import find_search

# --- two drivers ---------------------------------------------------------------------------------

HOLD = """
import sys, time
from tune_encoder.tuning.record.database import Database
database = Database(*sys.argv[1:])
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_driver_is_refused_and_a_killed_one_holds_nothing(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))
    words = [sys.executable, "-c", HOLD, pg, experiment.name]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(
                StorageError,
                match=rf"{experiment.name} is in use by pid {holder.pid} on .*; wait until it ends",
            ),
            opened(experiment),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
    with opened(experiment) as record:
        assert train(record) == 5


def test_a_lock_that_the_server_is_about_to_release_is_waited_for(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))
    holder = Database(pg, experiment.name)
    with ThreadPoolExecutor(1) as thread:
        opening = thread.submit(Database, pg, experiment.name)
        time.sleep(0.3)
        holder.close()
        opening.result().close()


def test_a_name_that_the_database_has_is_refused_for_a_new_search(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))
    check_record_free(pg, "free")

    with pytest.raises(
        ConfigError,
        match=rf"already has a search {experiment.name}; resume it with `tune-encoder resume "
        rf"{experiment.name} --record {pg}` or choose another --name",
    ):
        check_record_free(pg, experiment.name)


def test_a_trial_that_another_program_wrote_ends_the_search(tmp_path):
    """Only PostgreSQL keeps a second driver away; elsewhere it is seen when both have written."""
    url = f"sqlite:///{tmp_path}/record.db"
    experiment = make(tmp_path, url)
    with opened(experiment) as record, closing(Database(url, experiment.name)) as other:
        for _ in CONTENT["start"]:
            record.ask()
        other.study.storage.create_new_trial(other.study.id)
        with pytest.raises(StorageError, match=r"trial 2 has been written by another program; sto"):
            record.ask()


CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pid%'"


def test_a_driver_that_was_cut_off_writes_no_more_once_another_went_on(tmp_path, postgresql):
    """Its machine slept, say: it wakes up when the other one has ended already."""
    url = postgresql.url()
    asleep = make(tmp_path / "asleep", url)
    with opened(asleep) as record:
        train(record), train(record)
        postgresql.execute(CUT)
        other = find_search(tmp_path / "other", asleep.name, url)
        with opened(other) as second:
            add(second, 0, 3, 0.4)
            second.complete(0)
        for change in (lambda: add(record, 0, 3), lambda: record.complete(0), record.ask):
            with pytest.raises(
                StorageError,
                match=rf"^{url}: another program has resumed {asleep.name}; wait until it en",
            ):
                change()

    assert stored(other, url) == stored(other, "study.db")
    with opened(asleep):  # as the next launch there
        assert seen(asleep) == seen(other)


def test_a_driver_that_was_cut_off_goes_on_if_nobody_else_did(tmp_path, postgresql):
    experiment = make(tmp_path, postgresql.url())
    with opened(experiment) as record:
        train(record)
        postgresql.execute(CUT)
        check_record_free(postgresql.url(), "another")
        add(record, 0, 3)

    assert stored(experiment, "study.db") == stored(experiment, postgresql.url())


def test_a_trial_that_another_program_ended_ends_the_search(tmp_path):
    url = f"sqlite:///{tmp_path}/record.db"
    experiment = make(tmp_path, url)
    with opened(experiment) as record, closing(Database(url, experiment.name)) as other:
        train(record)
        other.study.end(0, TrialState.FAIL, None)
        for change in (lambda: add(record, 0, 3), record.ask):
            with pytest.raises(StorageError, match="another program has resumed search-"):
                change()


# --- a database that is away ---------------------------------------------------------------------


def test_a_database_that_is_started_again_is_waited_for(tmp_path, postgresql):
    experiment = make(tmp_path, postgresql.url())
    with opened(experiment) as record:
        train(record)
        postgresql.stop()
        postgresql.start()
        assert train(record) == 1
        postgresql.stop()
        postgresql.start()
        record.complete(1)

    assert stored(experiment, "study.db") == stored(experiment, postgresql.url())


def test_a_database_that_stays_away_ends_the_search_and_nothing_is_lost(
    tmp_path, postgresql, monkeypatch
):
    monkeypatch.setattr(database_module, "RETRY_FOR_S", 0.1)
    experiment = make(tmp_path, postgresql.url())
    with opened(experiment) as record:
        train(record)
        postgresql.stop()
        try:
            with pytest.raises(
                StorageError,
                match=r"^postgresql://.*: no longer answers \(.*\); everything is saved, "
                "restart the database$",
            ):
                add(record, 0, 3)
            assert [len(trial.rows) for trial in experiment.trials()] == [2, 0]
        finally:
            postgresql.start()
        with pytest.raises(StorageError, match="no longer answers"):  # none without those before it
            add(record, 0, 4)
    with opened(experiment) as record:
        add(record, 0, 3)
    assert [len(trial.rows) for trial in experiment.trials()] == [3, 0]


def test_tune_is_told_to_stop_when_the_record_cannot_be_written(tmp_path, postgresql, monkeypatch):
    monkeypatch.setattr(database_module, "RETRY_FOR_S", 0.1)
    with opened(make(tmp_path, postgresql.url())) as record:
        scheduler = RecordingScheduler(record, "1")
        steering = Steering(record, scheduler, lambda: 2)
        searcher = StudySearcher(record, scheduler, steering, worker_settings(), lambda: 2)
        train(record)
        tune_trial: Any = SimpleNamespace(config={"number": 0}, trial_id="a")
        row = {"epoch": 3, "val_loss": 0.5, "val_skill": 0.5, "finished": False}
        postgresql.stop()
        try:
            suggested = searcher.suggest("b")
            first = scheduler.storage_problem
            decision = scheduler.on_trial_result(None, tune_trial, {"row": json.dumps(row)})
            scheduler.fail(0, "its worker died")
            Controls(record.experiment).request_add({"head": "lowrank"})
            steering._polled = 0.0
            steering.poll()
        finally:
            postgresql.start()

    assert decision == "STOP"
    assert suggested == "FINISHED"
    assert first is not None
    assert "no longer answers" in first
    assert steering.stop_reason == scheduler.storage_problem == first


@pytest.mark.parametrize("what", ["add_trial", "end"])
def test_a_change_whose_answer_was_lost_is_made_once(tmp_path, pg, what):
    """The connection breaks after the commit, before the answer is there."""
    experiment = make(tmp_path, pg)
    with opened(experiment) as record:
        train(record)
        database = record._study._database
        new = optuna.trial.create_trial(state=TrialState.RUNNING)
        new.number = 2
        changes = {
            "add_trial": lambda study: study.add_trial(new),
            "end": lambda study: study.end(0, TrialState.FAIL, None),
        }
        answers = iter([False])

        def cut(study):
            changes[what](study)
            if not next(answers, True):
                raise StorageInternalError("the connection broke")

        database.write(cut)
        trials = database.study.trials()

    assert next(answers, None) is None
    assert len(trials) == (3 if what == "add_trial" else 2)
    assert trials[0].state is (TrialState.RUNNING if what == "add_trial" else TrialState.FAIL)


def test_tables_that_another_program_makes_at_the_same_time_are_used(postgresql):
    """Until it commits nobody sees them, and who makes them too is refused by the server."""
    postgresql.execute("CREATE DATABASE empty")
    url = postgresql.url("empty")
    engine = create_engine(url.replace("://", "+psycopg://"))
    with engine.connect() as other, ThreadPoolExecutor(1) as thread:
        BaseModel.metadata.create_all(other)
        opening = thread.submit(Database, url, "mine")
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not postgresql.execute(waits):
            assert not opening.done()
            time.sleep(0.01)
        other.commit()
        opening.result().close()
    engine.dispose()
