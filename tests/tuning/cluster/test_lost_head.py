"""A head node whose disk is gone: record in a database, checkpoints in a bucket."""

import shutil
import signal
from types import SimpleNamespace

import pytest

from tests.conftest import SECRET
from tests.postgresql import PASSWORD
from tests.tuning.conftest import Command
from tests.tuning.test_resume import LONG, assert_whole, kept

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]


@pytest.fixture(scope="module")
def lost(tmp_path_factory, data_dir, postgresql, s3_module):
    """A search that was killed, lost its folder, was resumed from the database and exported."""
    command = Command(tmp_path_factory.mktemp("lost"), data_dir)
    postgresql.execute("CREATE DATABASE lost_head")
    url = postgresql.url("lost_head")
    places = ["--storage", f"s3://{s3_module.make_bucket()}/runs", "--record", url]
    process = command.start(*command.search_options(LONG), *places)
    command.stop_after(process, 12, signal.SIGKILL)
    killed = command.experiment.trials()
    shutil.rmtree(command.folder / "runs")
    refused = command.run("resume", "tiny")
    ended = command.run("resume", "tiny", "--record", url, "--no-export")
    assert ended.returncode == 0, ended.stderr
    exported = command.run("export", "tiny", "--to", "model", "--formats", "torch")
    return SimpleNamespace(
        command=command, killed=killed, refused=refused, ended=ended, exported=exported
    )


def test_without_its_folder_a_search_is_known_only_to_the_database(lost):
    assert lost.refused.returncode == 2


def test_the_folder_is_made_again_and_no_checkpoint_is_lost(lost):
    assert "runs/tiny: restored " in lost.ended.stdout
    assert "checkpoints are lost" not in lost.ended.stdout


def test_a_search_whose_head_node_is_lost_goes_on_with_nothing_lost(lost):
    after = lost.command.experiment.trials()

    kept(lost.killed, after)
    assert_whole(after, n_trials=3)


def test_no_epoch_of_a_search_whose_head_node_is_lost_is_trained_again(lost):
    for before, now in zip(lost.killed, lost.command.experiment.trials(), strict=False):
        assert [row["seconds"] for row in before.rows] == [
            row["seconds"] for row in now.rows[: len(before.rows)]
        ]


def test_its_best_model_can_be_exported(lost):
    assert lost.exported.returncode == 0, lost.exported.stderr


def test_no_password_and_no_key_is_written_anywhere(lost, postgresql):
    files = [path for path in lost.command.folder.rglob("*") if path.is_file()]
    there = str(postgresql.execute("SELECT * FROM study_user_attributes", "lost_head"))

    written = there.encode() + b"".join(path.read_bytes() for path in files)

    assert PASSWORD.encode() not in written
    assert SECRET.encode() not in written
