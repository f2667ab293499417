"""A head node whose disk is gone: record in a database, checkpoints in a bucket."""

import shutil
import signal

import pytest

from tests.conftest import SECRET
from tests.postgresql import PASSWORD
from tests.tuning.test_resume import LONG, assert_whole, kept


@pytest.mark.slow
@pytest.mark.timeout(450)
def test_a_search_whose_head_node_is_lost_goes_on_with_nothing_lost(command, postgresql, s3):
    postgresql.execute("CREATE DATABASE lost_head")
    url = postgresql.url("lost_head")
    storage_settings = ["--storage", f"s3://{s3.make_bucket()}/runs", "--record", url]
    process = command.start(*command.search_options(LONG), *storage_settings)
    command.stop_after(process, 12, signal.SIGKILL)
    killed = command.experiment.trials()
    shutil.rmtree(command.folder / "runs")
    refused = command.run("resume", "tiny")

    ended = command.run("resume", "tiny", "--record", url, "--no-export")

    assert refused.returncode == 2
    assert ended.returncode == 0, ended.stderr
    assert "runs/tiny: made again, " in ended.stdout
    assert "checkpoints are lost" not in ended.stdout
    after = command.experiment.trials()
    kept(killed, after)
    assert_whole(after, n_trials=3)
    for before, now in zip(killed, after, strict=False):  # none of them was trained again
        assert [row["seconds"] for row in before.rows] == [
            row["seconds"] for row in now.rows[: len(before.rows)]
        ]
    exported = command.run("export", "tiny", "--to", "model")
    assert exported.returncode == 0, exported.stderr
    written = b"".join(p.read_bytes() for p in command.folder.rglob("*") if p.is_file())
    assert PASSWORD.encode() not in written
    assert SECRET.encode() not in written
    kept_there = str(postgresql.execute("SELECT * FROM study_user_attributes", "lost_head"))
    assert PASSWORD not in kept_there
    assert SECRET not in kept_there
