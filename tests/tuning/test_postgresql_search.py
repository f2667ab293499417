"""Searches whose record is in PostgreSQL, cut off and resumed as users have them."""

from types import SimpleNamespace

import pytest

from tests.tuning.conftest import ENDED_S, Command, finish
from tests.tuning.test_resume import LONG, assert_whole, kept

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(450)]


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory, data_dir, postgresql):
    """A search that lost its database and was resumed, when others wanted to drive it, too."""
    command = Command(tmp_path_factory.mktemp("cut_off"), data_dir)
    postgresql.execute("CREATE DATABASE search")
    url = postgresql.url("search")
    process = command.start(*command.search_options(LONG), "--record", url)
    command.wait_for_rows(process, 5)
    postgresql.stop()
    try:
        _, error = finish(process, ENDED_S)
        lost = command.experiment.trials()
    finally:
        postgresql.start()
    resumed = command.start("resume", "tiny", "--no-export")
    command.wait_for_rows(resumed, command.n_rows() + 1)
    elsewhere = command.run("resume", "tiny", "--record", url, "--root", "elsewhere")
    anew = command.run(*command.search_options(LONG), "--record", url, "--root", "elsewhere")
    said = finish(resumed, ENDED_S)[1]
    return SimpleNamespace(
        command=command, url=url, process=process, error=error, lost=lost,
        resumed=resumed, refused=(elsewhere, anew), said=said,
    )  # fmt: skip


def test_a_search_that_runs_refuses_a_second_driver_on_another_machine(cut_off):
    in_use = f"{cut_off.url}: tiny is in use by pid {cut_off.resumed.pid} on "

    for refused in cut_off.refused:
        assert refused.returncode == 4
        assert refused.stderr.startswith(f"tune-encoder: {in_use}")
        assert refused.stderr.count("\n") == 1
    assert not (cut_off.command.folder / "elsewhere").exists()


def test_a_search_that_loses_its_database_ends_with_all_saved(cut_off):
    error = cut_off.error

    assert cut_off.process.returncode == 4, error
    assert f"tune-encoder: {cut_off.url}: no longer answers (" in error
    assert (
        "everything is saved, restart the database; then resume with `tune-encoder resume tiny`\n"
        in error
    )
    assert "Traceback" not in error


def test_a_search_that_lost_its_database_goes_on(cut_off):
    assert cut_off.resumed.returncode == 0, cut_off.said
    trials = cut_off.command.experiment.trials()
    kept(cut_off.lost, trials)
    assert_whole(trials, n_trials=3)
