"""Records in a database as well: no search is run."""

import itertools
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from tests.search.lost import CONTENT, EPOCHS, SPACE, delete, overwrite, run
from tune_encoder.config import KeepingSettings
from tune_encoder.controls import Controls
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment import STUDY_NAME, Experiment, create_experiment, read_only
from tune_encoder.search import database as database_module
from tune_encoder.search import restoring, tables
from tune_encoder.search.database import Database, refuse_taken_name
from tune_encoder.search.extending import extend
from tune_encoder.search.record import Record
from tune_encoder.search.repair import repair
from tune_encoder.search.restoring import open_database, restore
from tune_encoder.search.run import find_search
from tune_encoder.search.schedulers import RecordingScheduler
from tune_encoder.search.searcher import StudySearcher
from tune_encoder.search.steering import Steering
from tune_encoder.space import override, to_content

NAMES = (f"search-{number}" for number in itertools.count())


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request, tmp_path):
    """A database: what is promised of records holds in each."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/record.db"
    return request.getfixturevalue("postgresql").url()


def make(root, url, name=None):
    name = name or next(NAMES)
    content = {"space": to_content(SPACE), "data_dir": "", "fingerprint": "", "versions": {}}
    kept = asdict(KeepingSettings(record=url))
    return create_experiment(root, name, {**content, **kept, "record_name": name})


@contextmanager
def opened(experiment):
    """The record as a launch has it."""
    with open_database(experiment) as database:
        yield Record.open(experiment, SPACE, database)


def train(record, losses=(0.9, 0.8)):
    number = record.ask().number
    for epoch, loss in enumerate(losses, start=1):
        add(record, number, epoch, loss)
    return number


def add(record, number, epoch, loss=0.5):
    row = {"epoch": epoch, "val_loss": loss, "val_skill": 0.1 + loss, "finished": False}
    assert record.add_row(number, row) is not None


def filled(experiment):
    """Trials in every state, in the record of an experiment."""
    with opened(experiment) as record:
        train(record, [0.9] * EPOCHS)
        for _ in range(3):
            train(record)
        record.complete(0)
        record.prune(1)
        record.fail(2, "the loss is NaN")
        record.hold(3)
        train(record, [0.7])
        record.add({"head": "lowrank"})
    return experiment


def stored(experiment, where):
    """What a database says of each trial, but for its own keys."""
    if where == "study.db":
        study = optuna.load_study(
            study_name=STUDY_NAME, storage=f"sqlite:///{experiment.study_path}"
        )
        return [told(trial) for trial in study.trials]
    with closing(Database(where, experiment.record_name())) as database:
        return [told(trial) for trial in database.study.trials()]


def seen(experiment):
    """Its trials, but for the moment at which each ended: each database has its own."""
    return [replace(trial, ended_at=None) for trial in experiment.trials()]


def told(trial):
    parts = (trial.number, trial.state, trial.values, trial.params, trial.distributions)
    return *parts, trial.user_attrs, trial.system_attrs, trial.intermediate_values


# --- both say the same ---------------------------------------------------------------------------


def test_every_change_stands_in_the_database_and_in_study_db(tmp_path, url):
    experiment = filled(make(tmp_path, url))

    there = stored(experiment, url)

    assert there == stored(experiment, "study.db")
    with closing(Database(url, experiment.name)) as database:
        assert database.search() == experiment.search()  # its budget grew by the added config
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
        extend(experiment, SPACE, {"epochs": 8}, database)

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
    wider = override(SPACE, {"budget": {"trials": 9}}, "test")
    with open_database(experiment) as database:
        experiment.write_search({**experiment.search(), "space": to_content(wider)})
        Record.open(experiment, wider, database)
    before, content = seen(experiment), experiment.search()
    shutil.rmtree(experiment.path)

    found = find_search(tmp_path, experiment.name, url)

    assert seen(found) == before
    assert found.search() == content
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{experiment.path}: made again, 5 trials with 11 epochs, from {url}"
    assert said[1:] == [
        "its checkpoints are lost: what was best of trials that ended cannot be exported,",
        "and trials that had not ended begin anew",
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
        ConfigError, match=r"^record: .*search\.yaml has .*; leave it out, or change it there if"
    ):
        find_search(tmp_path, experiment.name, "postgresql://elsewhere/x")


def test_a_search_that_the_database_has_not_is_named_with_those_it_has(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))

    with pytest.raises(ConfigError, match=rf"has no search nowhere; there are .*{experiment.name}"):
        restore(tmp_path / "nowhere", pg)
    assert not (tmp_path / "nowhere").exists()


def test_a_database_that_has_lost_the_search_is_not_filled_from_nothing(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))
    with closing(Database(pg, experiment.name)) as database:
        database.study.storage.delete_study(database.study.id)
    problem = r"has no search search-\d+; restore the database, or take `record` out of .*yaml$"

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
    assert f"from     {pg}, which is the truth: nothing is lost\n" in out
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
                rf"newest backup, or move {experiment.study_path} away to go on without what only",
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
        database.study.note(4, "paused", True)
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
    before, real, n_read = seen(experiment), tables._of, itertools.count()

    def failing(study, table):
        if next(n_read) == n_tables:
            raise OperationalError("SELECT", {}, Exception("server closed the connection"))
        return real(study, table)

    monkeypatch.setattr(tables, "_of", failing)
    with (
        pytest.raises(
            StorageError,
            match=rf"^{url}: cannot be read \(server closed the connection\); make it answer$",
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
    refuse_taken_name(url, name := next(NAMES))
    first = filled(make(tmp_path / "first", url, name))
    second = make(tmp_path / "second", url, name)
    problem = (
        rf"^{url}: has another search {name} than {second.path}; start this one anew under another "
        "--name, or take `record` out of its search.yaml$"
    )

    for attempt in (lambda: opened(second).__enter__(), lambda: repair(second, force=True)):
        with pytest.raises(StorageError, match=problem):
            attempt()

    assert not second.study_path.exists()
    with closing(Database(url, name)) as database:
        assert database.search() == first.search()


# --- two drivers ---------------------------------------------------------------------------------

HOLD = """
import sys, time
from tune_encoder.search.database import Database
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


def test_a_name_that_the_database_has_is_refused_for_a_new_search(tmp_path, pg):
    experiment = filled(make(tmp_path, pg))
    refuse_taken_name(pg, "free")

    with pytest.raises(
        ConfigError,
        match=rf"has a search {experiment.name} already; continue it with `tune-encoder resume "
        rf"{experiment.name} --record {pg}` or choose another --name",
    ):
        refuse_taken_name(pg, experiment.name)


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
                match=rf"^{url}: another program has gone on with {asleep.name}; wait until it en",
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
        refuse_taken_name(postgresql.url(), "another")
        add(record, 0, 3)

    assert stored(experiment, "study.db") == stored(experiment, postgresql.url())


def test_a_trial_that_another_program_ended_ends_the_search(tmp_path):
    url = f"sqlite:///{tmp_path}/record.db"
    experiment = make(tmp_path, url)
    with opened(experiment) as record, closing(Database(url, experiment.name)) as other:
        train(record)
        other.study.end(0, TrialState.FAIL, None)
        for change in (lambda: add(record, 0, 3), record.ask):
            with pytest.raises(StorageError, match="another program has gone on with search-"):
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
    monkeypatch.setattr(database_module, "PATIENCE_S", 0.1)
    experiment = make(tmp_path, postgresql.url())
    with opened(experiment) as record:
        train(record)
        postgresql.stop()
        try:
            with pytest.raises(
                StorageError, match=r"^postgresql://.*: gone \(.*\); all is saved, start it$"
            ):
                add(record, 0, 3)
            assert [len(trial.rows) for trial in experiment.trials()] == [2, 0]
        finally:
            postgresql.start()
        with pytest.raises(StorageError, match="gone"):  # none without those before it
            add(record, 0, 4)
    with opened(experiment) as record:
        add(record, 0, 3)
    assert [len(trial.rows) for trial in experiment.trials()] == [3, 0]


def test_tune_is_told_to_stop_when_the_record_cannot_be_written(tmp_path, postgresql, monkeypatch):
    monkeypatch.setattr(database_module, "PATIENCE_S", 0.1)
    with opened(make(tmp_path, postgresql.url())) as record:
        scheduler = RecordingScheduler(record, "1")
        steering = Steering(record, scheduler, lambda: 2)
        searcher = StudySearcher(record, scheduler, steering, {}, lambda: 2)
        train(record)
        tune_trial = SimpleNamespace(config={"number": 0}, trial_id="a")
        row = {"epoch": 3, "val_loss": 0.5, "val_skill": 0.5, "finished": False}
        postgresql.stop()
        try:
            suggested = searcher.suggest("b")
            first = scheduler.storage_problem
            decision = scheduler.on_trial_result(None, tune_trial, {"row": json.dumps(row)})
            scheduler.fail(0, "its worker died")
            Controls(record.experiment).ask_add({"head": "lowrank"})
            steering._polled = 0.0
            steering.poll()
        finally:
            postgresql.start()

    assert decision == "STOP"
    assert suggested == "FINISHED"
    assert first is not None
    assert "gone" in first
    assert steering.stops == scheduler.storage_problem == first


@pytest.mark.parametrize("what", ["create", "end"])
def test_a_change_whose_answer_was_lost_is_made_once(tmp_path, pg, what):
    """The connection breaks after the commit, before the answer is there."""
    experiment = make(tmp_path, pg)
    with opened(experiment) as record:
        train(record)
        database = record._study._database
        new = optuna.trial.create_trial(state=TrialState.RUNNING)
        new.number = 2
        changes = {
            "create": lambda study: study.create(new),
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
    assert len(trials) == (3 if what == "create" else 2)
    assert trials[0].state is (TrialState.RUNNING if what == "create" else TrialState.FAIL)


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
