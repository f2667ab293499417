import os
import stat
import subprocess
import tempfile

import pytest

from tests.builders import worker_settings
from tests.fabricate import bare_state
from tune_encoder.errors import StorageError
from tune_encoder.experiment.checkpoint_storage import Storage, checkpoints_of_trial
from tune_encoder.training.checkpoints import save_state
from tune_encoder.tuning.worker.trial_files import StoredTrialFiles, open_trial_files


@pytest.fixture
def storage(tmp_path):
    return Storage.at(str(tmp_path / "shared" / "mine"))


def run_to(storage, folder, epochs, launch="1", number=7):
    """A run that keeps a checkpoint of each of these epochs; returns their names."""
    files = StoredTrialFiles(storage, launch, number, folder / launch)
    names = []
    for epoch in epochs:
        save_state(folder / "made" / "checkpoint.pt", bare_state(epoch))
        row, left_to_tune = files.save_checkpoint(
            {"epoch": epoch, "val_loss": 0.5}, folder / "made"
        )
        assert left_to_tune is None
        names.append(row["checkpoint"])
    return names


def test_a_run_goes_on_from_the_newest_checkpoint_of_its_trial(storage, tmp_path):
    run_to(storage, tmp_path, [1, 2, 3])
    run_to(storage, tmp_path, [4], launch="2")
    run_to(storage, tmp_path, [9], number=8)

    state, problems = StoredTrialFiles(storage, "3", 7, tmp_path / "now").newest_checkpoint()

    assert state is not None
    assert (state["epoch"], problems) == (4, [])


def test_a_damaged_one_gives_way_to_the_next_older_and_is_told(storage, tmp_path):
    *_, newest = run_to(storage, tmp_path, [1, 2])
    file = tmp_path / "shared" / "mine" / newest / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:-100])

    state, problems = StoredTrialFiles(storage, "2", 7, tmp_path / "now").newest_checkpoint()

    assert state is not None
    assert state["epoch"] == 1
    assert len(problems) == 1
    assert "checkpoint_000002/checkpoint.pt: damaged, its SHA-256" in problems[0]


def test_a_trial_without_any_begins_anew(storage, tmp_path):
    assert StoredTrialFiles(storage, "1", 7, tmp_path).newest_checkpoint() == (None, [])


def test_two_runs_of_a_launch_never_write_the_same_checkpoint(storage, tmp_path):
    first, second = (run_to(storage, tmp_path, [1]) for _ in range(2))

    assert first != second
    assert checkpoints_of_trial(storage.checkpoint_names(), 7) == sorted([*first, *second])


def test_a_worker_takes_no_checkpoint_of_another_search_whose_the_place_is(storage, tmp_path):
    storage.claim("theirs")
    run_to(storage, tmp_path, [1])

    with (
        pytest.raises(StorageError, match="mine: has checkpoints of another search of this n"),
        open_trial_files(worker_settings(storage=storage), 7),
    ):
        pass
    with open_trial_files(worker_settings(storage=storage, identity="theirs"), 7) as files:
        assert files.newest_checkpoint()[0]


def test_a_worker_leaves_nothing_on_its_node_and_clears_away_what_a_killed_one_left(
    storage, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / "node" / f".tune_encoder_trial.{ended.pid}.a_1b2c3d.partial"
    (left / "run").mkdir(parents=True)

    with open_trial_files(worker_settings(storage=storage), 7) as files:
        files.run_dir.mkdir()
        assert files.run_dir.is_relative_to(tmp_path / "node")

    assert list((tmp_path / "node").iterdir()) == []


def test_a_folder_that_another_user_made_for_a_worker_to_write_to_is_not_used(
    storage, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    waiting = tmp_path / f".tune_encoder_trial.{os.getpid()}.partial"
    waiting.mkdir(mode=0o777)

    with open_trial_files(worker_settings(storage=storage), 7) as files:
        folder = files.run_dir.parent
        assert not files.run_dir.is_relative_to(waiting)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    assert waiting.is_dir()
    assert not folder.exists()
