"""The rows of one study in Optuna's tables: read all at once, and written at once to a new file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

# Optuna tells its tables nowhere else, and its public calls take some sixty times as long to copy
# a study.
from optuna.storages._rdb.models import BaseModel, StudyModel, TrialModel
from sqlalchemy import Engine, Select, Table, create_engine, select
from sqlalchemy.exc import SQLAlchemyError

from tune_encoder.experiment.folder import STUDY_NAME
from tune_encoder.experiment.trials import is_epoch_key
from tune_encoder.tuning.record.stored_study import enable_wal, study_url

_OTHER_TABLES = ("version_info", "trial_heartbeats")  # tables that contain nothing of a study
_TABLES = [table for table in BaseModel.metadata.sorted_tables if table.name not in _OTHER_TABLES]
_ATTRIBUTES = "trial_user_attributes"

Rows = dict[str, list[dict[str, Any]]]
"""Rows of each table, in the order in which they were written."""


def read_rows(engine: Engine, study: int) -> Rows:
    """Read all rows of a study from a database."""
    with engine.connect() as connection:
        return {
            table.name: [
                dict(row) for row in connection.execute(_select_rows(study, table)).mappings()
            ]
            for table in _TABLES
        }


def _select_rows(study: int, table: Table) -> Select[tuple[object, ...]]:
    if "study_id" in table.c:
        belongs = table.c.study_id == study
    else:
        ours = select(TrialModel.trial_id).where(TrialModel.study_id == study)
        belongs = table.c.trial_id.in_(ours)
    return select(table).where(belongs).order_by(*table.primary_key)


def read_file(path: Path) -> Rows | None:
    """Read the study of an SQLite file; None if it is damaged."""
    engine = create_engine(study_url(path))
    try:
        with closing(sqlite3.connect(path)) as file:
            ((found, *_), *_) = file.execute("PRAGMA integrity_check(1)")
        with engine.connect() as connection:
            named = select(StudyModel.study_id).where(StudyModel.study_name == STUDY_NAME)
            study = connection.execute(named).scalar_one()
        return read_rows(engine, study) if found == "ok" else None
    except (sqlite3.Error, SQLAlchemyError, LookupError, ValueError, TypeError):
        return None
    finally:
        engine.dispose()


def write_file(path: Path, rows: Rows) -> None:
    """Write the rows to a new SQLite file."""
    engine = RDBStorage(study_url(path)).engine
    with engine.begin() as file:
        for table in _TABLES:
            if table.name == StudyModel.__tablename__:
                file.execute(table.insert(), [{**rows[table.name][0], "study_name": STUDY_NAME}])
            elif rows[table.name]:
                file.execute(table.insert(), rows[table.name])
    engine.dispose()
    enable_wal(path)


def attributes(rows: Rows) -> set[tuple[object, ...]]:
    """Return the content of the trials, without the database's own ids and times."""
    numbers = _numbers(rows)
    said: set[tuple[object, ...]] = {
        (row["number"], row["state"]) for row in rows[TrialModel.__tablename__]
    }
    for table in _TABLES:
        if "trial_id" in table.c and table.name != TrialModel.__tablename__:
            names = [c.name for c in table.c if not c.primary_key and c.name != "trial_id"]
            said |= {
                (table.name, numbers[row["trial_id"]], *(row[name] for name in names))
                for row in rows[table.name]
            }
    return said


def trial_numbers(rows: Rows) -> set[int]:
    """Return the numbers of all trials."""
    return set(_numbers(rows).values())


def ended_trials(rows: Rows) -> set[int]:
    """Return the numbers of the trials that have ended."""
    found = rows[TrialModel.__tablename__]
    return {row["number"] for row in found if row["state"].is_finished()}


def epoch_rows(rows: Rows) -> dict[tuple[int, str], str]:
    """Return the content of each epoch, by the trial's number and the epoch's key."""
    numbers = _numbers(rows)
    return {
        (numbers[row["trial_id"]], row["key"]): row["value_json"]
        for row in rows[_ATTRIBUTES]
        if is_epoch_key(row["key"])
    }


def _numbers(rows: Rows) -> dict[int, int]:
    return {row["trial_id"]: row["number"] for row in rows[TrialModel.__tablename__]}
