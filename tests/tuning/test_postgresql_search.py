"""Searches whose record is in PostgreSQL, cut off and resumed as users have them."""

import signal

import pytest

from tests.tuning.conftest import ENDED_S, STARTED_S, finish
from tests.tuning.test_resume import LONG, assert_whole, kept

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]


@pytest.fixture
def database(postgresql):
    """A database of this test alone."""
    name = f"search_{len(postgresql.execute('SELECT 1 FROM pg_database'))}"
    postgresql.execute(f"CREATE DATABASE {name}")
    return name


def test_a_search_that_runs_refuses_a_second_driver_on_another_machine(
    command, postgresql, database
):
    url = postgresql.url(database)
    process = command.start(*command.search_options(LONG), "--record", url)
    command.wait_for_rows(process, 1)

    elsewhere = command.run("resume", "tiny", "--record", url, "--root", "elsewhere")
    anew = command.run(*command.search_options(LONG), "--record", url, "--root", "elsewhere")

    assert elsewhere.returncode == anew.returncode == 4
    for error in (elsewhere.stderr, anew.stderr):
        assert error.startswith(f"tune-encoder: {url}: tiny is in use by pid {process.pid} on ")
        assert error.count("\n") == 1
    assert not (command.folder / "elsewhere").exists()
    process.send_signal(signal.SIGINT)
    finish(process, STARTED_S)


def test_a_search_that_loses_its_database_ends_with_all_saved_and_goes_on(
    command, postgresql, database
):
    url = postgresql.url(database)
    process = command.start(*command.search_options(LONG), "--record", url)
    command.wait_for_rows(process, 5)
    postgresql.stop()
    try:
        _, error = finish(process, ENDED_S)
        lost = command.experiment.trials()
    finally:
        postgresql.start()

    assert process.returncode == 4, error
    assert f"tune-encoder: {url}: no longer answers (" in error
    assert (
        "everything is saved, restart the database; then resume with `tune-encoder resume tiny`\n"
        in error
    )
    assert "Traceback" not in error
    ended = command.run("resume", "tiny", "--no-export")
    assert ended.returncode == 0, ended.stderr
    kept(lost, command.experiment.trials())
    assert_whole(command.experiment.trials(), n_trials=3)
