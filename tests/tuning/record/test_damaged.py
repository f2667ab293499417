"""What becomes of a damaged record, and what commands say of one."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.tuning.lost import EPOCHS, Search, blank_the_middle, delete, overwrite, run, truncate
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.lock import lock_experiment
from tune_encoder.tuning.record.repair import repair


@pytest.fixture
def search(tmp_path):
    return Search(tmp_path / "runs")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """An experiment whose record fills many pages; not to be changed."""
    search = Search(tmp_path_factory.mktemp("runs"))
    for _ in range(9):
        search.trial([0.9] * EPOCHS, kept=[1])
    with closing(sqlite3.connect(search.experiment.study_path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return search.experiment


@pytest.fixture
def copy(filled, tmp_path):
    """The filled experiment, to be damaged."""
    shutil.copytree(filled.path, tmp_path / "runs" / "mine")
    return Experiment(tmp_path / "runs" / "mine")


def aside(experiment, number):
    return experiment.path / f"study.db.damaged-{number}"


# --- the old record ------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [overwrite, truncate, blank_the_middle])
def test_the_damaged_record_is_kept_beside_the_new_one_and_nothing_else_is_left(copy, damage):
    before = copy.trials()
    damage(copy.study_path)
    damaged = copy.study_path.read_bytes()
    copy.path.joinpath("study.db-wal").write_bytes(b"what would be replayed into the new one")

    done = repair(copy)

    assert done.backup == aside(copy, 1)
    assert aside(copy, 1).read_bytes() == damaged
    assert copy.path.joinpath("study.db.damaged-1-wal").is_file()
    assert [t.settings for t in copy.trials()] == [t.settings for t in before]
    others = {path.name for path in copy.path.iterdir() if not path.name.startswith("study.db")}
    assert others == {"search.yaml", "trials", "checkpoints", "lock"}
    assert [path.name for path in copy.path.parent.iterdir()] == ["mine"]


def test_a_second_damaged_record_gets_the_next_number(search):
    for number in (1, 2):
        overwrite(search.experiment.study_path)
        assert repair(search.experiment).backup == aside(search.experiment, number)


def test_the_new_record_lets_readers_and_the_writer_work_at_once(search):
    search.repaired()

    with closing(sqlite3.connect(search.experiment.study_path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_sound_record_is_replaced_only_by_force(search):
    search.trial([0.9, 0.5])

    with pytest.raises(
        ConfigError, match=r"study\.db: intact, with 2 trials and 2 epochs; use --force to rep"
    ):
        repair(search.experiment)
    assert repair(search.experiment, force=True).backup == aside(search.experiment, 1)


def test_an_experiment_in_use_is_not_repaired(search):
    overwrite(search.experiment.study_path)
    before = search.experiment.study_path.read_bytes()

    with (
        lock_experiment(search.experiment.path),
        pytest.raises(StorageError, match=rf"mine: in use by pid {os.getpid()} on .*; wait until"),
    ):
        repair(search.experiment)
    assert search.experiment.study_path.read_bytes() == before


def test_damage_that_reading_the_trials_would_not_meet_is_found(copy):
    with closing(sqlite3.connect(copy.study_path)) as database:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'trial_params'"
        ((page,),) = database.execute(query)
        ((size,),) = database.execute("PRAGMA page_size")
    with copy.study_path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))

    assert len(copy.trials()) == 9
    with pytest.raises(
        StorageError, match=r"study\.db: cannot be read \(.*; rebuild it with `tune"
    ):
        copy.check_record()


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [delete, overwrite, truncate, blank_the_middle])
@pytest.mark.parametrize("command", ["resume", "export"])
def test_commands_that_meet_a_lost_record_name_the_one_that_repairs_it(
    copy, capsys, damage, command
):
    damage(copy.study_path)
    root = copy.path.parent

    code, _, error = run(capsys, f"{command} mine --root {root}")

    assert code == 4
    assert error.startswith(f"tune-encoder: {root}/mine/study.db: cannot be read (")
    assert error.endswith(f"); rebuild it with `tune-encoder repair mine --root {root}`\n")


@pytest.mark.slow  # SQLite waits for seconds before it gives up
def test_a_locked_record_is_not_called_damaged(tmp_path):
    experiment = Experiment(tmp_path)
    with closing(sqlite3.connect(experiment.study_path)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match=r"is locked\); another program is using it, try a"):
            experiment.trials()


def test_repair_says_what_it_found_what_is_lost_and_how_to_go_on(search, capsys):
    search.trial([0.9, 0.5, 0.6, 0.7], kept=[2, 4], finished=True)
    search.trial([0.8, 0.7], kept=[2])
    search.experiment.trial_config(1).write_text("")
    overwrite(search.experiment.study_path)
    root = search.experiment.path.parent

    code, printed, error = run(capsys, f"repair mine --root {root}")

    assert (code, error) == (0, "")
    assert printed.splitlines() == [
        f"rebuilt  {root}/mine/study.db",
        "         2 trials (1 COMPLETE, 1 RUNNING)",
        "         6 epochs, 3 of them with a checkpoint",
        f"backup   {root}/mine/study.db.damaged-1, the old record",
        "lost     trial 1: config.yaml is damaged",
        "lost     which trials were pruned or failed, and why; `resume` decides again",
        "",
        f"resume:  tune-encoder resume mine --root {root}",
    ]


def test_repair_refuses_a_sound_record_and_an_unknown_name_with_2(search, capsys):
    root = search.experiment.path.parent

    code, _, error = run(capsys, f"repair mine --root {root}")
    assert code == 2
    assert "study.db: intact, with 2 trials and 0 epochs; use --force to replace it " in error
    code, _, error = run(capsys, f"repair none --root {root}")
    assert code == 2
    assert "none: no such experiment; there are mine" in error
