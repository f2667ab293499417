import os
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from tests.fabricate import make_search
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import (
    CHECKPOINT_NAME,
    STUDY_NAME,
    create_experiment,
    experiment_path,
    open_experiment,
)
from tune_encoder.experiment.trials import TrialRecord, best_trial, needed_checkpoints
from tune_encoder.space import parse_space, space_to_content
from tune_encoder.tuning.record.record import Record

SPACE = parse_space({"space": {"dropout": {"float": [0.0, 0.4]}}}, "test", Path())


def new_experiment(root, name="mine", **content):
    written = {"space": space_to_content(SPACE), "data_dir": "", "fingerprint": "", "versions": {}}
    return create_experiment(root, name, {**written, **content})


def row(epoch, val_loss, **more):
    return {"epoch": epoch, "val_loss": val_loss, "objective": val_loss, "finished": False, **more}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A complete, a pruned, a failed and a running trial; not to be changed."""
    made = new_experiment(tmp_path_factory.mktemp("runs"))
    record = Record.open(made, SPACE)
    losses = [[0.9, 0.4, 0.5], [0.8, 0.7], [0.3], [0.6] * 11]
    for number, values in enumerate(losses):
        record.ask()
        for epoch, loss in enumerate(values, start=1):
            record.add_row(number, row(epoch, loss))
    record.complete(0)
    record.prune(1)
    record.fail(2, "the loss is NaN")
    return made


# --- names and folders ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "7", "My-search_2.1", "a" * 64])
def test_a_plain_name_is_a_folder_in_the_root(name):
    assert experiment_path(Path("runs"), name) == Path("runs") / name


BAD_NAMES = (
    *(
        "",
        ".",
        "..",
        "../x",
        "/abs",
        "a/b",
        "a\\b",
        "a\nb",
        "a\n",
        "nul\0",
        ".hidden",
        "-rf",
        "a b",
    ),
    *("a;b", "$x", "stimme_ü", "\uff11", "a" * 65, "a" * 300),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leaves_the_root_or_confuses_a_shell_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"name '.*' cannot be used; write up to 64 letters, dig"):
        create_experiment(tmp_path / "runs", name, {})
    assert list(tmp_path.iterdir()) == []


def test_a_new_experiment_opens_with_what_it_was_made_with(tmp_path):
    new_experiment(tmp_path / "runs", data_dir="/voices")

    opened = open_experiment(tmp_path / "runs", "mine")

    assert opened.name == "mine"
    assert opened.search()["data_dir"] == "/voices"
    assert parse_space(opened.search()["space"], "test", Path()) == SPACE


def test_a_taken_name_is_refused_with_how_to_go_on(tmp_path):
    new_experiment(tmp_path, data_dir="/old")

    with pytest.raises(
        ConfigError, match=r"mine exists; continue it with `tune-encoder resume mine --root "
    ):
        new_experiment(tmp_path, data_dir="/new")
    assert open_experiment(tmp_path, "mine").search()["data_dir"] == "/old"


def test_a_root_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "runs").write_text("")

    with pytest.raises(StorageError, match=r"runs/mine: cannot be "):
        new_experiment(tmp_path / "runs")


def test_an_unknown_name_is_refused_with_the_names_there_are(tmp_path):
    with pytest.raises(ConfigError, match=rf"mine: no such experiment; {tmp_path} has none"):
        open_experiment(tmp_path, "mine")

    new_experiment(tmp_path, "b")
    new_experiment(tmp_path, "a")
    with pytest.raises(ConfigError, match=r"mine: no such experiment; there are a, b$"):
        open_experiment(tmp_path, "mine")


def test_an_experiment_of_a_newer_program_is_refused_with_both_formats(tmp_path):
    made = new_experiment(tmp_path, format=2)

    with pytest.raises(StorageError, match=r"format 2, this program reads up to 1; update tune-e"):
        made.search()


def test_a_damaged_search_file_is_refused_with_what_is_missing(tmp_path):
    made = new_experiment(tmp_path)
    (made.path / "search.yaml").write_text("format: two\nspace: {}\n")

    with pytest.raises(StorageError, match=r"search.yaml: damaged, format is 'two' and data_dir,"):
        made.search()


@pytest.mark.parametrize("root", ["what?", "100%"])
def test_a_root_that_sqlite_cannot_name_is_refused(tmp_path, root):
    with pytest.raises(ConfigError, match=r"has '\?' or '%' in its path; choose another --root"):
        new_experiment(tmp_path / root)


# --- the record ----------------------------------------------------------------------------------


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


def test_without_a_result_there_is_no_best_trial():
    assert best_trial([]) is None
    assert (
        best_trial([TrialRecord(0, "RUNNING"), TrialRecord(1, "FAIL", {}, [row(1, 0.5)])]) is None
    )


def test_an_absent_record_is_refused_by_name(tmp_path):
    with pytest.raises(StorageError, match=r"study\.db: cannot be read \(unable to open"):
        begun_experiment(tmp_path).trials()


def begun_experiment(root):
    made = new_experiment(root)
    made.trial_dir(0).mkdir(parents=True)
    return made


def test_a_search_in_its_first_seconds_has_no_trials(tmp_path):
    assert new_experiment(tmp_path).trials() == []


def test_a_record_is_read_where_nothing_may_be_written(tmp_path, monkeypatch):
    made = make_search(tmp_path, SPACE, [("COMPLETE", {"dropout": 0.2}, [0.9, 0.5])])
    assert not made.study_path.with_name("study.db-wal").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root

    (trial,) = made.trials()

    assert len(trial.rows) == 2
    assert not made.study_path.with_name("study.db-wal").exists()


def test_a_command_line_can_be_pasted_whatever_the_folder_is_called(tmp_path):
    made = new_experiment(tmp_path / "my runs")

    assert shlex.split(made.command("best"))[-2:] == ["--root", str(tmp_path / "my runs")]


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


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "epochs_kept"), [("RUNNING", [1, 4, 5]), ("COMPLETE", [1, 5]), ("PRUNED", [1, 5])]
)
def test_the_best_and_last_checkpoint_stay_and_of_a_running_trial_the_one_before(
    tmp_path, state, epochs_kept
):
    made = new_experiment(tmp_path)
    losses = [0.9, 0.2, 0.5, 0.4, 0.6, 0.7]
    rows = [row(n, loss, checkpoint=f"1/0003/checkpoint_{n:06d}") for n, loss in enumerate(losses)]
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


def test_rows_without_a_checkpoint_are_passed_over(tmp_path):
    made = new_experiment(tmp_path)

    trial = TrialRecord(0, "RUNNING", {}, [row(n, 0.5) for n in range(4)])

    assert needed_checkpoints(trial) == set()
    assert made.checkpoint_file(row(1, 0.5)) is None
    assert made.checkpoint_files(0) == []
