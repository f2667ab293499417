"""What pages follow: experiments that are read again and again, whatever their files say."""

import asyncio
import contextlib
import math
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.builders import MadeSearch, epoch_row
from tests.report.conftest import made_search
from tune_encoder.errors import TuneEncoderError
from tune_encoder.serve.overview import Overview, share_done
from tune_encoder.serve.watching import FIRST_REST_S, Watch, Watched
from tune_encoder.system.lock import LOCK_NAME, lock_experiment

INFINITE = "cannot be shown (OverflowError: cannot convert float infinity to integer); mend its"
NO_TEXT = "cannot be shown (UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"


@pytest.fixture
def made(tmp_path):
    return made_search(tmp_path / "runs")


def write_seconds(made, written):
    """Let the first epoch of the record have taken that long."""
    with contextlib.closing(sqlite3.connect(made.study_path)) as database, database:
        (before,) = database.execute(
            "SELECT value_json FROM trial_user_attributes WHERE key LIKE 'epoch_%' ORDER BY "
            "trial_id LIMIT 1"
        ).fetchone()
        start, _, rest = before.partition('"seconds": ')
        after = f'{start}"seconds": {written}{rest[rest.index(",") :]}'
        database.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE value_json = ?", (after, before)
        )


@contextlib.contextmanager
def bad_lock(made):
    """A search that runs, whose lock is no text."""
    with lock_experiment(made.path):
        (made.path / LOCK_NAME).write_bytes(b"\xff\xff\n")
        yield


def test_an_infinite_duration_is_a_problem_until_it_is_mended(made):
    watched = Watched(made.path)
    n_charts = len(watched.charts)
    write_seconds(made, "Infinity")

    update = watched.refresh()
    assert update is not None
    assert update.facts is None
    assert f"{made.path}: {INFINITE}" in update.problem
    assert watched.refresh() is None  # told once

    write_seconds(made, "1.5")
    mended = watched.refresh()
    assert mended is not None
    assert mended.problem == ""
    assert len(mended.rows) == 14
    assert len(mended.charts) == len(watched.charts) > n_charts  # pages may have any state


def test_a_lock_that_is_no_text_is_a_problem_of_its_experiment_alone(made):
    other = made_search(made.path.parent, name="other")
    overview, watched = Overview(made.path.parent), Watched(made.path)
    assert watched.refresh() is not None
    with bad_lock(made):
        update = watched.refresh()
        assert update is not None
        assert NO_TEXT in update.problem
        mine, others = overview.read()
    assert (mine.name, mine.state) == (made.name, "unreadable")
    assert NO_TEXT in mine.problem
    assert (others.name, others.state) == (other.name, "stopped")

    assert [entry.state for entry in overview.read()] == ["stopped", "stopped"]
    assert watched.refresh() is not None


def test_the_curves_rest_between_two_updates_and_the_numbers_do_not(tmp_path, monkeypatch):
    made = MadeSearch(tmp_path)
    running = made.trial([0.9])
    watched = Watched(made.experiment.path)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert watched.refresh() is not None

    made.record.add_row(running, epoch_row(2, 0.8))
    update = watched.refresh()
    assert update is not None
    assert [row["epochs"] for row in update.rows] == [2]
    assert "curves" not in update.charts
    assert watched.refresh() is None

    now += FIRST_REST_S
    update = watched.refresh()
    assert update is not None
    assert [each["id"] for each in update.charts["curves"].options["series"]] == ["trial-0"]


def fail(news):
    raise ZeroDivisionError(str(news))


def test_one_experiment_that_cannot_be_shown_and_a_page_that_fails_stop_no_other(made):
    other = made_search(made.path.parent, name="other")
    write_seconds(made, "Infinity")

    async def follow():
        watch, told = Watch(made.path.parent), asyncio.Event()
        with pytest.raises(TuneEncoderError, match="OverflowError"):
            await watch.open(made.name)
        watched = await watch.open(other.name)
        watched.followers = {fail, lambda update: told.set()}
        watch.overview_followers = {fail}
        for each in watch._watched.values():
            each.followers.add(lambda update: None)
            each._rests_until["importance"] = math.inf  # Optuna would take seconds
        task = asyncio.create_task(watch.run())
        for seconds in ("2.5", "3.5"):
            write_seconds(other, seconds)
            await asyncio.wait_for(told.wait(), 60)
            told.clear()
        assert not task.done()
        task.cancel()

    with ThreadPoolExecutor(1) as pool:  # Playwright may have a loop in this thread
        pool.submit(asyncio.run, follow()).result()


@pytest.mark.parametrize(
    ("trials_budget", "epochs", "words"),
    [(None, 1, "1 trial, 1 epoch"), (1, 3, "1 of 1 trial"), (4, 3, "1 of 4 trials")],
)
def test_what_is_done_is_counted_in_words(trials_budget, epochs, words):
    view: Any = {"trials_ended": 1, "epochs": epochs, "epochs_budget": None}
    view["trials_budget"] = trials_budget

    assert share_done(view)[1] == words
