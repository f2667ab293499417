"""study.db while another program has it, or where it cannot be written."""

import sqlite3
import threading
from contextlib import closing, contextmanager

import pytest

from tests.builders import SPACE, epoch_row, make_search
from tune_encoder.errors import StorageError
from tune_encoder.tuning.extend import reopen_trials
from tune_encoder.tuning.record import study_file
from tune_encoder.tuning.record.record import Record

RUNNING = [("RUNNING", {"dropout": 0.1}, [0.5, 0.4])]


@contextmanager
def locked(experiment, seconds=None):
    """Lock study.db as a backup does, for good or for a while."""
    with closing(sqlite3.connect(experiment.study_path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(seconds or 0, other.rollback)
        if seconds is not None:
            release.start()
        yield
        if seconds is not None:
            release.join()


@pytest.fixture
def patience(monkeypatch):
    monkeypatch.setattr(study_file, "NOTICE_S", 0.2)
    monkeypatch.setattr(study_file, "RETRY_FOR_S", 1.0)


def test_a_write_waits_while_another_program_locks_the_file_and_says_so_once(
    tmp_path, patience, capsys
):
    experiment = make_search(tmp_path, SPACE, RUNNING)
    record = Record.open(experiment, SPACE)

    with locked(experiment, seconds=0.7):
        record.add_row(0, epoch_row(3, 0.3))

    said = capsys.readouterr().err.splitlines()
    assert said == [f"{experiment.study_path}: locked by another program; waiting for it"]
    assert [each["epoch"] for each in experiment.trials()[0].rows] == [1, 2, 3]


def test_a_file_that_stays_locked_is_said_in_a_line(tmp_path, patience):
    experiment = make_search(tmp_path, SPACE, RUNNING)
    record = Record.open(experiment, SPACE)
    message = (
        r"study.db: cannot be written \(database is locked\); another program is using it; "
        "end that program$"
    )

    with locked(experiment), pytest.raises(StorageError, match=message):
        record.add_row(0, epoch_row(3, 0.3))
    with locked(experiment), pytest.raises(StorageError, match=message):
        reopen_trials(experiment, 2, 4)

    assert [each["epoch"] for each in experiment.trials()[0].rows] == [1, 2]


def test_a_file_that_cannot_be_written_is_said_in_a_line(tmp_path):
    experiment = make_search(tmp_path, SPACE, RUNNING)
    record = Record.open(experiment, SPACE)
    with record._study._file.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    message = r"cannot be written \(attempt to write a readonly database\); make it writable$"
    with pytest.raises(StorageError, match=message):
        record.add_row(0, epoch_row(3, 0.3))


def test_a_file_that_is_no_study_is_said_in_a_line(tmp_path):
    (tmp_path / "study.db").write_text("no database")

    with pytest.raises(StorageError, match=r"study.db: cannot be read \(file is not a database\)"):
        study_file.StudyFile(tmp_path / "study.db")


def test_nothing_is_written_after_what_could_not_be(tmp_path, patience):
    experiment = make_search(tmp_path, SPACE, RUNNING)
    record = Record.open(experiment, SPACE)

    with locked(experiment), pytest.raises(StorageError):
        record.add_row(0, epoch_row(3, 0.3))
    with pytest.raises(StorageError, match="another program is using it"):  # at once
        record.add_row(0, epoch_row(4, 0.2))
    assert [each["epoch"] for each in experiment.trials()[0].rows] == [1, 2]

    Record.open(experiment, SPACE).add_row(0, epoch_row(3, 0.3))  # by the next launch
    assert [each["epoch"] for each in experiment.trials()[0].rows] == [1, 2, 3]
