"""The cluster of one machine, as a person starts, asks and stops it."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.tuning.lost import run
from tune_encoder.errors import StorageError
from tune_encoder.system.files import cache_dir
from tune_encoder.tuning.cluster.start import start_cluster
from tune_encoder.tuning.cluster.state import Cluster, Process, find_cluster, local_address
from tune_encoder.tuning.cluster.stop import stop_cluster


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache folder in which no cluster was ever started."""
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path / "cache"))
    (cache_dir() / "cluster").mkdir(parents=True)
    return cache_dir() / "cluster"


def remember(home: Path, folder: Path, processes: list[Process]) -> None:
    content = {
        "address": "127.0.0.1:1",
        "page": "http://127.0.0.1:1",
        "folder": str(folder),
        "processes": [
            {"pid": each.pid, "started": each.started, "name": each.name} for each in processes
        ],
    }
    (home / "cluster.json").write_text(json.dumps(content))


@pytest.fixture
def sleeper():
    """A process that is none of a cluster."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield Process(process.pid, psutil.Process(process.pid).create_time(), "sleeper")
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_cluster_is_started_once_takes_tokens_only_and_ends_whole(home, capsys):
    try:
        code, out, error = run(capsys, "cluster start --cpus 1")
        assert (code, error) == (0, "")
        cluster = find_cluster()
        assert cluster is not None
        assert out.startswith(f"started at {cluster.address}\n")
        assert cluster.address == local_address()
        assert "already running at" in run(capsys, "cluster start")[1]
        shown = json.loads(run(capsys, "cluster status --json")[1])
        assert (shown["address"], shown["total"]["CPU"]) == (cluster.address, 1.0)
        assert shown["pids"] == [process.pid for process in cluster.processes]
        assert {"gcs_server", "raylet"} <= {process.name for process in cluster.processes}
        assert refused(f"{cluster.page}/api/jobs/") == 401
        assert cluster.page.startswith("http://127.0.0.1:")
        assert Path("~/.ray/auth_token").expanduser().stat().st_mode & 0o777 == 0o600
    finally:
        ended = stop_cluster()

    assert ended == cluster
    assert not any(psutil.pid_exists(process.pid) for process in cluster.processes)
    assert not Path(cluster.folder).exists()
    assert run(capsys, "cluster stop")[:2] == (0, "no cluster is running\n")
    assert (
        "no cluster is running; start one with `tune-encoder cluster start`"
        in run(capsys, "cluster status")[1]
    )


def refused(address: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(address, timeout=10)
    answer.value.close()
    return answer.value.code


def test_a_process_that_has_the_number_of_ours_is_not_ended(home, tmp_path, sleeper):
    remember(home, tmp_path, [replace(sleeper, started=sleeper.started - 100)])

    assert find_cluster() is None
    assert stop_cluster() is None
    assert psutil.Process(sleeper.pid).is_running()


def test_what_is_ours_is_ended_with_what_it_started(home, tmp_path):
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    parent = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE)
    process = psutil.Process(parent.pid)
    while not (children := process.children()):
        time.sleep(0.01)
    (tmp_path / "session").mkdir()
    remember(home, tmp_path / "session", [Process(parent.pid, process.create_time(), "python")])

    ended = stop_cluster()

    assert isinstance(ended, Cluster)
    parent.communicate()
    assert not any(each.is_running() for each in (process, *children))
    assert not (tmp_path / "session").exists()
    assert not (home / "cluster.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"processes": [{"pid": 1}]}'])
def test_a_damaged_file_of_processes_is_named(home, content):
    (home / "cluster.json").write_text(content)

    with pytest.raises(
        StorageError, match=r"cluster\.json: cannot be read \(.*; end Ray's processes by hand, th"
    ):
        find_cluster()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_cluster_that_does_not_start_says_why_and_leaves_nothing(home):
    before = set(Path(tempfile.gettempdir()).glob("tune_encoder_*"))

    with pytest.raises(StorageError, match=r"the cluster did not start: .*; see .*head\.log"):
        start_cluster(cpus=-1)

    assert find_cluster() is None
    assert set(Path(tempfile.gettempdir()).glob("tune_encoder_*")) == before
