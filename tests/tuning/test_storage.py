"""The record of a search with a storage: which checkpoints stay there, and how it is rebuilt."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders import new_experiment, parse_space
from tests.fabricate import bare_state
from tune_encoder.config import LOCAL_LAUNCH
from tune_encoder.errors import StorageError
from tune_encoder.experiment.checkpoint_storage import Storage
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.views import best_view
from tune_encoder.training.checkpoints import save_state
from tune_encoder.tuning.driver.launch import _next_launch
from tune_encoder.tuning.driver.recording_scheduler import RecordingScheduler
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.repair import repair
from tune_encoder.tuning.start import _launch
from tune_encoder.tuning.worker.file_sync import FILES
from tune_encoder.tuning.worker.trial_files import StoredTrialFiles

SPACE = parse_space(
    {
        "budget": {"trials": 1, "epochs": 9},
        "scheduler": {"name": "none"},
        "searcher": {"name": "random"},
        "space": {"dropout": {"float": [0.0, 0.5]}},
    },
    "test",
    Path(),
)
LOSSES = [0.9, 0.3, 0.8, 0.7, 0.6]  # the second epoch is the best


class Trial:
    """One trial of a search that keeps its checkpoints in a folder beside it, without Ray."""

    def __init__(self, folder):
        self.folder = folder
        kept = str(folder / "kept" / "mine")
        self.experiment = new_experiment(folder / "runs", space=SPACE, storage=kept)
        self.storage = Storage.at(kept)
        self.launch("1")
        self.record.write_settings(self.record.ask())

    def launch(self, number):
        self.record = Record.open(self.experiment, SPACE)
        self.scheduler = RecordingScheduler(self.record, number)
        self.files = StoredTrialFiles(self.storage, number, 0, self.folder / number)

    def save(self, epoch):
        """What the worker does: keep the epoch's checkpoint; returns its row."""
        rows = [self.row_of(each) for each in range(1, epoch + 1)]
        settings = self.record.trials[0].settings
        state = {**bare_state(epoch), "history": rows, "config": settings}
        save_state(self.folder / "made" / "checkpoint.pt", state)
        return self.files.save_checkpoint(self.row_of(epoch), self.folder / "made")[0]

    def row_of(self, epoch):
        scores = {"val_loss": LOSSES[epoch - 1], "val_skill": 0.1}
        return {"epoch": epoch, **scores, "seconds": 1.0, "finished": False}

    def report(self, row, parcel=()):
        place = SimpleNamespace(trial_dir_name="0000")
        trial: Any = SimpleNamespace(config={"number": 0}, storage=place)
        result = {"row": json.dumps(row), FILES: [*parcel]}
        self.scheduler.on_trial_result(None, trial, result)

    def epochs_kept(self):
        return sorted(int(name[-6:]) for name in self.storage.checkpoint_names())


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path)


def test_the_best_and_the_last_two_checkpoints_of_a_running_trial_stay(trial):
    for epoch in range(1, 6):
        trial.report(trial.save(epoch))

    assert trial.epochs_kept() == [2, 4, 5]


def test_what_a_killed_driver_did_not_record_stays_until_it_is_told_again(trial):
    trial.report(trial.save(1))
    trial.save(2), trial.save(3)  # the driver dies before these

    trial.launch("2")
    trial.report(trial.row_of(2))  # as a worker that goes on from the third tells them
    assert trial.epochs_kept() == [1, 2, 3]
    trial.report(trial.save(3))

    assert trial.epochs_kept() == [3]
    assert trial.storage.checkpoint_names()[0].startswith("2/")


def test_the_checkpoint_of_a_repeated_epoch_gives_way_to_the_newer_one(trial):
    trial.report(trial.save(1))
    trial.launch("2")

    trial.report(newer := trial.save(1))

    assert trial.storage.checkpoint_names() == [newer["checkpoint"]]
    assert trial.record.stored_checkpoints == {newer["checkpoint"]}


def test_a_checkpoint_stays_until_the_row_that_names_a_newer_one_is_written(trial, monkeypatch):
    trial.report(old := trial.save(1))
    trial.launch("2")

    def gone(*_):
        raise StorageError("gone")

    monkeypatch.setattr(trial.record._study, "add_row", gone)
    trial.report(newer := trial.save(1))

    assert trial.scheduler.storage_problem == "gone"
    assert trial.storage.checkpoint_names() == [old["checkpoint"], newer["checkpoint"]]


def test_a_launch_after_the_folder_was_lost_takes_no_number_twice(trial):
    trial.report(trial.save(1))
    trial.launch("7")
    trial.report(trial.save(2))
    shutil.rmtree(trial.experiment.checkpoints, ignore_errors=True)

    assert _next_launch(Record.open(trial.experiment, SPACE)) == "8"


def test_a_launch_on_a_place_of_another_search_is_refused_before_anything_is_removed(trial):
    for epoch in range(1, 4):
        trial.save(epoch)
    trial.storage.claim("another")

    with pytest.raises(StorageError, match="mine: has checkpoints of another search of this name"):
        _launch(trial.experiment, SPACE, trial.folder, LOCAL_LAUNCH, None)

    assert trial.epochs_kept() == [1, 2, 3]


def test_what_a_worker_sends_comes_to_the_trials_folder(trial):
    trial.report(trial.save(1), [("logs/events.1", 0, b"scalars")])

    assert (trial.experiment.trial_dir(0) / "logs" / "events.1").read_bytes() == b"scalars"


def test_looking_names_the_place_and_asks_no_storage(trial, tmp_path):
    row = trial.save(1)
    trial.report(row)
    shutil.rmtree(tmp_path / "kept")

    shown = best_view(Experiment(trial.experiment.path))["checkpoint"]
    assert shown == f"{tmp_path}/kept/mine/{row['checkpoint']}/checkpoint.pt"


def test_a_checkpoint_of_which_only_the_manifest_is_left_is_passed_over(trial):
    first = trial.save(1)
    trial.report(first)
    trial.report(trial.save(2))
    (Path(trial.storage.location) / first["checkpoint"] / "checkpoint.pt").unlink()
    trial.experiment.study_path.unlink()

    done = repair(trial.experiment)

    assert (done.epochs, done.checkpoints, done.lost) == (2, 1, [])


def test_a_record_is_not_rebuilt_from_the_checkpoints_of_another_search(trial):
    trial.report(trial.save(1))
    trial.experiment.study_path.unlink()
    trial.storage.claim("another")

    with pytest.raises(StorageError, match="mine: has checkpoints of another search of this name"):
        repair(trial.experiment)
    assert not trial.experiment.study_path.exists()


def test_a_record_is_rebuilt_from_the_checkpoints_in_the_storage(trial):
    for epoch in range(1, 4):
        trial.report(trial.save(epoch))
    trial.experiment.study_path.unlink()
    shutil.rmtree(trial.experiment.path / "trials")

    done = repair(trial.experiment)

    assert (done.states, done.epochs, done.checkpoints) == ({"RUNNING": 1}, 3, 2)
