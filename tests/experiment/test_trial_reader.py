"""A record that is read again while it grows."""

import json
import os
import sqlite3
from contextlib import closing

import pytest

from tests.builders import SPACE, MadeSearch, epoch_row
from tune_encoder.experiment.trial_reader import TrialReader
from tune_encoder.experiment.trials import epoch_key


def reader_of(made):
    return TrialReader(made.experiment.study_path, ("val_skill", "seconds", "order"))


def test_a_record_that_is_not_there_yet_has_no_trials(tmp_path):
    assert TrialReader(tmp_path / "study.db", ("val_skill",)).read() == []


def test_only_what_changed_is_read_again_and_it_is_as_if_all_were(tmp_path):
    made = MadeSearch(tmp_path)
    ended, running = made.trial([0.9, 0.8], "COMPLETE"), made.trial([0.7])
    reader = reader_of(made)
    before = reader.read()

    made.record.add_row(running, epoch_row(2, 0.6, SPACE))
    added = made.trial([0.5], "FAIL", "it broke")
    after = reader.read()

    assert after == reader_of(made).read()
    assert [len(trial.rows) for trial in after] == [2, 2, 1]
    assert after[ended] is before[ended]
    assert after[running] is not before[running]
    assert (after[added].state, after[added].reason) == ("FAIL", "it broke")


def test_a_record_whose_files_are_unchanged_is_not_read(tmp_path):
    made = MadeSearch(tmp_path)
    made.trial([0.9])
    reader = reader_of(made)
    reader.read()
    before = reader.read()
    assert reader.read()[0] is before[0]

    os.utime(made.experiment.study_path)

    assert reader.read()[0] is not before[0]


def test_a_trial_that_ends_is_read_once_more(tmp_path):
    made = MadeSearch(tmp_path)
    number = made.trial([0.9])
    reader = reader_of(made)
    reader.read()

    made.record.complete(number)

    assert [trial.state for trial in reader.read()] == ["COMPLETE"]


def test_a_trial_that_is_reopened_is_read_again(tmp_path):
    made = MadeSearch(tmp_path)
    made.trial([0.9], "PRUNED")
    reader = reader_of(made)
    reader.read()

    made.record._study._file.reopen({0: {}})

    assert [trial.state for trial in reader.read()] == ["RUNNING"]


@pytest.mark.parametrize("number", [0, 1])  # the second has the newest key, which is used again
def test_what_is_taken_out_of_the_record_is_read_again(tmp_path, number):
    made = MadeSearch(tmp_path)
    for _ in range(2):
        made.trial([0.9, 0.8], "COMPLETE")
    reader = reader_of(made)
    reader.read()

    with closing(sqlite3.connect(made.experiment.study_path)) as database:
        query = "DELETE FROM trial_user_attributes WHERE trial_id = ? AND key = ?"
        database.execute(query, (number + 1, epoch_key(2)))
        query = "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)"
        added = json.dumps({**epoch_row(3, 0.1), "order": 4})
        database.execute(query, (2 - number, epoch_key(3), added))
        database.commit()

    epochs = [[row["epoch"] for row in trial.rows] for trial in reader.read()]
    assert epochs[number] == [1]
    assert epochs[1 - number] == [1, 2, 3]


def test_a_file_in_the_place_of_the_record_is_read_whole(tmp_path):
    made = MadeSearch(tmp_path)
    made.trial([0.9], "COMPLETE")
    made.trial([0.8], "COMPLETE")
    path = made.experiment.study_path
    reader = reader_of(made)
    reader.read()

    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(tmp_path / "new")) as other:
        one.backup(other)
        other.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = 1 AND key = ?",
            (json.dumps({**epoch_row(1, 0.5), "order": 0}), epoch_key(1)),
        )
        other.commit()
    (tmp_path / "new").replace(path)
    path.with_name(f"{path.name}-wal").unlink(missing_ok=True)

    assert [trial.rows[0]["val_loss"] for trial in reader.read()] == [0.5, 0.8]
