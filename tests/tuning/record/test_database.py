"""Records in a database as well: no search is run."""

import itertools
import shutil
import sqlite3
from contextlib import closing

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from tests.tuning.lost import CONTENT, EPOCHS, SPACE, delete, overwrite, run
from tests.tuning.records import NAMES, add, filled, make, opened, seen, stored, train
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import read_only
from tune_encoder.space import override_space, space_to_content
from tune_encoder.tuning.extend import extend_search
from tune_encoder.tuning.record import optuna_tables as tables
from tune_encoder.tuning.record import restore as restoring
from tune_encoder.tuning.record.database import Database, check_record_free
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.repair import repair
from tune_encoder.tuning.record.restore import open_database, restore
from tune_encoder.tuning.start import find_search


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request, tmp_path):
    """A database: what is promised of records holds in each."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/record.db"
    return request.getfixturevalue("postgresql").url()


# --- both say the same ---------------------------------------------------------------------------


def test_every_change_stands_in_the_database_and_in_study_db(tmp_path, url):
    experiment = filled(make(tmp_path, url))

    there = stored(experiment, url)

    assert there == stored(experiment, "study.db")
    with closing(Database(url, experiment.name)) as database:
        assert database.search() == experiment.read_search()  # its budget grew by the added config
    states = [state.name for _, state, *_ in there]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "RUNNING", "RUNNING", "WAITING"]
    assert [len(trial.rows) for trial in experiment.trials()] == [EPOCHS, 2, 2, 2, 1, 0]


def test_what_a_killed_driver_had_not_copied_is_copied_by_the_next_launch(tmp_path, url):
    experiment = filled(make(tmp_path, url))
    with closing(sqlite3.connect(experiment.study_path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    behind = experiment.study_path.read_bytes()
    with opened(experiment) as record:
        record.prune(4)
        train(record, [0.6, 0.5])
    before = seen(experiment)
    delete(experiment.study_path)
    experiment.study_path.write_bytes(behind)
    assert seen(experiment) != before

    with opened(experiment) as record:
        assert [trial.number for trial in record.unfinished()] == [5]
        assert train(record) == 6

    assert seen(experiment)[:-1] == before
    assert stored(experiment, "study.db") == stored(experiment, url)
    assert not list(experiment.path.glob("*.damaged*"))


def test_a_larger_budget_lets_trials_go_on_in_both(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))

    with open_database(experiment) as database:
        extend_search(experiment, SPACE, {"epochs": 8}, database)

    there = stored(experiment, pg)
    assert there == stored(experiment, "study.db")
    assert [(state.name, values) for _, state, values, *_ in there][:3] == [
        ("RUNNING", None), ("RUNNING", None), ("FAIL", None)
    ]  # fmt: skip
    assert there[1][5]["settings"]["epochs"] == 8


def test_two_searches_share_a_database(tmp_path, pg):
    first, second = filled(make(tmp_path, pg)), make(tmp_path, pg)

    with opened(second) as record:
        assert train(record) == 0

    assert [len(trial.rows) for trial in second.trials()] == [2, 0]
    with opened(first):
        assert [len(trial.rows) for trial in first.trials()] == [EPOCHS, 2, 2, 2, 1, 0]


def test_a_renamed_folder_keeps_its_record(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))
    before = seen(experiment)
    moved = Experiment(experiment.path.rename(tmp_path / "moved"))
    delete(moved.study_path)

    with opened(moved):
        assert seen(moved) == before


# --- what is lost --------------------------------------------------------------------------------


def test_a_lost_folder_is_made_again_with_all_that_was_recorded(tmp_path, url, capsys):
    experiment = filled(make(tmp_path, url))
    wider = override_space(SPACE, {"budget": {"trials": 9}}, "test")
    with open_database(experiment) as database:
        experiment.write_search({**experiment.read_search(), "space": space_to_content(wider)})
        Record.open(experiment, wider, database)
    before, content = seen(experiment), experiment.read_search()
    shutil.rmtree(experiment.path)

    found = find_search(tmp_path, experiment.name, url)

    assert seen(found) == before
    assert found.read_search() == content
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{experiment.path}: restored 5 trials with 11 epochs from {url}"
    assert said[1:] == [
        "its checkpoints are lost: the best models of ended trials cannot be exported,",
        "and unfinished trials start again",
    ]
    with opened(found) as record:
        assert train(record) == 5


def test_a_folder_that_is_there_is_not_made_again(tmp_path, pg, capsys):
    experiment = filled(make(tmp_path, pg))

    assert find_search(tmp_path, experiment.name, pg) == experiment

    assert capsys.readouterr().out == ""


def test_another_record_than_that_of_the_folder_is_refused(tmp_path, pg):
    experiment = make(tmp_path, pg)

    with pytest.raises(
        ConfigError, match=r"^record: .*search\.yaml has .*; leave the option out, or change the"
    ):
        find_search(tmp_path, experiment.name, "postgresql://elsewhere/x")


def test_a_search_that_the_database_has_not_is_named_with_those_it_has(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))

    with pytest.raises(ConfigError, match=rf"has no search nowhere; searches: .*{experiment.name}"):
        restore(tmp_path / "nowhere", pg)
    assert not (tmp_path / "nowhere").exists()


def test_a_database_that_has_lost_the_search_is_not_filled_from_nothing(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))
    with closing(Database(pg, experiment.name)) as database:
        database.study.storage.delete_study(database.study.id)
    problem = r"has no search search-\d+; restore the database, or remove `record` from .*yaml$"

    with pytest.raises(StorageError, match=problem), opened(experiment):
        pass
    delete(experiment.study_path)
    with pytest.raises(StorageError, match=problem):
        repair(experiment)


def test_a_study_that_was_left_half_made_is_made_anew(tmp_path, pg):
    experiment = make(tmp_path, pg)
    with opened(experiment):
        first = stored_waiting(experiment)
    with closing(Database(pg, experiment.name)) as database:
        database.study.storage.delete_study(database.study.id)
        optuna.create_study(
            study_name=f"tune-encoder/{experiment.name}", storage=database.study.storage
        )
    delete(experiment.study_path)

    with opened(experiment):
        assert stored_waiting(experiment) == first
        assert len(first) == len(CONTENT["start"])


def stored_waiting(experiment):
    return [trial.number for trial in experiment.trials() if trial.state == "WAITING"]


@pytest.mark.parametrize("damage", [overwrite, delete])
def test_repair_makes_study_db_from_the_database_and_says_so(tmp_path, pg, capsys, damage):
    experiment = filled(make(tmp_path / "runs", pg))
    before = seen(experiment)
    damage(experiment.study_path)

    code, out, _ = run(capsys, f"repair {experiment.name} --root {tmp_path / 'runs'}")

    assert code == 0
    assert f"from     {pg}, which has the complete record: nothing is lost\n" in out
    assert "lost " not in out.replace("is lost", "")
    assert seen(experiment) == before


def test_a_damaged_study_db_gives_way_to_a_new_one_at_a_launch(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))
    before = seen(experiment)
    overwrite(experiment.study_path)

    with opened(experiment):
        assert seen(experiment) == before

    assert (experiment.path / "study.db.damaged-1").exists()


def test_a_database_older_than_study_db_is_refused_and_nothing_is_changed(tmp_path):
    url, backup = f"sqlite:///{tmp_path}/record.db", tmp_path / "backup.db"
    experiment = make(tmp_path, url)
    with opened(experiment) as record:
        train(record)
    shutil.copy(tmp_path / "record.db", backup)
    for has, change in (("trial 0's epoch_000003", lambda: add(record, 0, 3)),
                        ("trial 2", lambda: (train(record), train(record)))):  # fmt: skip
        with opened(experiment) as record:
            change()
        before, newest = seen(experiment), (tmp_path / "record.db").read_bytes()
        shutil.copy(backup, tmp_path / "record.db")

        with (
            pytest.raises(
                StorageError,
                match=rf"^{url}: older than {experiment.study_path}, which has {has}; restore its "
                rf"newest backup, or move {experiment.study_path} away to continue without what ",
            ),
            opened(experiment),
        ):
            pass

        assert seen(experiment) == before
        assert (tmp_path / "record.db").read_bytes() == backup.read_bytes()
        assert not list(experiment.path.glob("*.damaged*"))
        (tmp_path / "record.db").write_bytes(newest)


@pytest.mark.parametrize(
    "otherwise",
    [
        "UPDATE trial_user_attributes SET value_json = '{}' WHERE key = 'epoch_000001'",
        "UPDATE trials SET state = 'COMPLETE' WHERE number = 3",
    ],
)
def test_a_study_db_that_says_otherwise_than_the_database_is_kept(tmp_path, otherwise):
    experiment = filled(make(tmp_path, f"sqlite:///{tmp_path}/record.db"))
    before = seen(experiment)
    with closing(sqlite3.connect(experiment.study_path)) as file, file:
        file.execute(otherwise)

    with opened(experiment):
        assert seen(experiment) == before

    assert (experiment.path / "study.db.damaged-1").exists()


def test_a_study_db_that_says_the_same_stays_as_it_is(tmp_path):
    experiment = filled(make(tmp_path, f"sqlite:///{tmp_path}/record.db"))
    before = experiment.study_path.stat().st_ino

    with opened(experiment):
        assert experiment.study_path.stat().st_ino == before


def test_who_reads_study_db_goes_on_reading_while_it_is_replaced(tmp_path):
    url = f"sqlite:///{tmp_path}/record.db"
    experiment = filled(make(tmp_path, url))
    n_trials = len(experiment.trials())
    with closing(Database(url, experiment.name)) as database:
        database.study.set_attribute(4, "paused", True)
    with closing(read_only(experiment.study_path)) as reader:
        count = "SELECT count(*) FROM trials"
        assert reader.execute(count).fetchone() == (n_trials,)
        with opened(experiment) as record:
            train(record), train(record)
            assert reader.execute(count).fetchone() == (n_trials,)
            assert len(experiment.trials()) == n_trials + 1
            assert experiment.trials()[4].paused
    assert not list(experiment.path.glob("*.damaged*"))


def test_a_log_that_was_left_without_its_study_db_is_not_replayed(tmp_path):
    experiment = filled(make(tmp_path, f"sqlite:///{tmp_path}/record.db"))
    before = seen(experiment)
    with closing(sqlite3.connect(experiment.study_path)) as file:
        file.execute("DELETE FROM trial_user_attributes")
        file.commit()
        log = experiment.study_path.with_name("study.db-wal")
        content = log.read_bytes()
    delete(experiment.study_path)
    log.write_bytes(content)

    with opened(experiment):
        assert seen(experiment) == before
        experiment.check_record()


@pytest.mark.parametrize("n_tables", [0, 4])
def test_a_database_that_goes_away_while_study_db_is_brought_up_changes_nothing(
    tmp_path, monkeypatch, n_tables
):
    url = f"sqlite:///{tmp_path}/record.db"
    experiment = filled(make(tmp_path, url))
    before, real, n_read = seen(experiment), tables._select_rows, itertools.count()

    def failing(study, table):
        if next(n_read) == n_tables:
            raise OperationalError("SELECT", {}, Exception("server closed the connection"))
        return real(study, table)

    monkeypatch.setattr(tables, "_select_rows", failing)
    with (
        pytest.raises(
            StorageError,
            match=rf"^{url}: cannot be read \(server closed the connection\); "
            "check that it is running$",
        ),
        opened(experiment),
    ):
        pass

    assert seen(experiment) == before
    assert not [path.name for path in experiment.path.iterdir() if "damaged" in path.name]


def test_a_study_db_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    experiment = filled(make(tmp_path, f"sqlite:///{tmp_path}/record.db"))
    delete(experiment.study_path)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(restoring, "write_file", full)
    with (
        pytest.raises(StorageError, match=r"study\.db: cannot be written \(No space left on dev"),
        opened(experiment),
    ):
        pass


# --- two searches of one name --------------------------------------------------------------------


def test_a_folder_takes_no_other_search_of_its_name_from_the_database(tmp_path, url):
    """Another began under the name while this one packed its data."""
    check_record_free(url, name := next(NAMES))
    first = filled(make(tmp_path / "first", url, name))
    second = make(tmp_path / "second", url, name)
    problem = (
        rf"^{url}: its search {name} is not the one in {second.path}; start this one "
        "again with another --name, or remove `record` from its search.yaml$"
    )

    for attempt in (lambda: opened(second).__enter__(), lambda: repair(second, force=True)):
        with pytest.raises(StorageError, match=problem):
            attempt()

    assert not second.study_path.exists()
    with closing(Database(url, name)) as database:
        assert database.search() == first.read_search()
