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
from types import SimpleNamespace

import psutil
import pytest

from tune_encoder.config import ResourceSettings
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.system.files import cache_dir
from tune_encoder.tuning.cluster import start
from tune_encoder.tuning.cluster.connection import resolve_address
from tune_encoder.tuning.cluster.start import start_cluster
from tune_encoder.tuning.cluster.state import (
    Cluster,
    Process,
    cluster_usage,
    find_cluster,
    local_address,
    process_of,
    processes_under,
    serves_page,
)
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


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A cluster that was started, started again, asked and stopped, and what was said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_ENCODER_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            first = cluster("start --cpus 1")
            found = find_cluster()
            assert found is not None, (first.returncode, first.stdout, first.stderr)
            local = local_address()
            second = cluster("start")
            shown = json.loads(cluster("status --json").stdout)
            unasked = refused(f"{found.page}/api/jobs/")
            with pytest.raises(ConfigError) as unexported:
                resolve_address("auto", ResourceSettings(), metrics=True)
            pages = serves_page(found), serves_page(replace(found, processes=[]))
        finally:
            ended = stop_cluster()
        left = [psutil.pid_exists(process.pid) for process in found.processes]
        after = cluster("stop"), cluster("status")
    return SimpleNamespace(
        first=first, local=local, second=second, found=found, shown=shown, unasked=unasked,
        ended=ended, left=left, after=after, pages=pages,
        unexported=str(unexported.value),
    )  # fmt: skip


def cluster(words):
    command = [sys.executable, "-m", "tune_encoder", "cluster", *words.split()]
    return subprocess.run(command, capture_output=True, text=True, check=False)


slow = pytest.mark.slow
patient = pytest.mark.timeout(240)


@slow
@patient
def test_a_cluster_says_where_it_was_started(started):
    assert (started.first.returncode, started.first.stderr) == (0, "")
    assert started.first.stdout.startswith(f"started at {started.found.address}\n")
    assert started.found.address == started.local


@slow
@patient
def test_a_cluster_is_started_once(started):
    assert "already running at" in started.second.stdout


@slow
@patient
def test_the_status_of_a_cluster_names_its_size_and_its_processes(started):
    shown, found = started.shown, started.found

    assert (shown["address"], shown["total"]["CPU"]) == (found.address, 1.0)
    assert shown["pids"] == [process.pid for process in found.processes]
    assert {"gcs_server", "raylet"} <= {process.name for process in found.processes}


@slow
@patient
def test_a_cluster_takes_tokens_only_and_listens_on_loopback(started):
    assert started.unasked == 401
    assert started.found.page.startswith("http://127.0.0.1:")
    assert Path("~/.ray/auth_token").expanduser().stat().st_mode & 0o777 == 0o600


@slow
@patient
def test_metrics_on_a_cluster_that_exports_none_are_refused(started):
    assert started.unexported == (
        f"metrics: the cluster at {started.found.address} exports none; start it again with "
        "`tune-encoder cluster start --metrics`, or run the search without an address"
    )


@slow
@patient
def test_a_cluster_ends_whole(started):
    assert started.ended == started.found
    assert not any(started.left)
    assert not Path(started.found.folder).exists()


@slow
@patient
def test_where_no_cluster_runs_stop_and_status_say_so(started):
    stop, status = started.after

    assert (stop.returncode, stop.stdout) == (0, "no cluster is running\n")
    said = "no cluster is running; start one with `tune-encoder cluster start`"
    assert said in status.stdout


@slow
@patient
def test_the_page_of_another_cluster_is_told_from_its_own(started):
    assert started.pages == (True, False)


LISTEN = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        with server.accept()[0] as caller:
            print(caller.recv(9999), flush=True)
            caller.sendall(b"no HTTP at all")
"""


@pytest.fixture
def listener(tmp_path):
    """A program that answers in a language of its own, as the only process of a cluster."""
    process = subprocess.Popen([sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    page = f"http://127.0.0.1:{process.stdout.readline().strip()}"
    ours = [process_of(psutil.Process(process.pid))]
    yield SimpleNamespace(
        cluster=Cluster("127.0.0.1:1", page, str(tmp_path), ours), process=process
    )
    with process:
        process.kill()


def test_a_program_that_took_the_port_of_the_page_gets_no_token(listener, sleeper):
    foreign = replace(listener.cluster, processes=[sleeper])

    said = f"^{foreign.page}: no process of the cluster listens there; stop the cluster with `tune"
    with pytest.raises(StorageError, match=said):
        cluster_usage(foreign)
    listener.process.kill()
    assert listener.process.communicate()[0] == "", "nobody has called it"


def test_a_page_that_answers_with_what_is_no_http_is_told_in_one_line(listener, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of a test")

    with pytest.raises(StorageError, match=r": does not answer \(no HTTP at all\); stop the clust"):
        cluster_usage(listener.cluster)


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


def test_what_ended_while_the_cluster_started_is_not_of_it():
    runs, ended = "[sys.executable, '-c', 'input()']", "[sys.executable, '-c', '']"
    both = f"a = subprocess.Popen({runs}); b = subprocess.Popen({ended}); a.wait()"
    command = [sys.executable, "-c", f"import subprocess, sys; {both}"]
    unsaid = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=unsaid) as parent:
        started = psutil.Process(parent.pid)
        while psutil.STATUS_ZOMBIE not in [each.status() for each in started.children()]:
            time.sleep(0.01)

        (entry,) = processes_under(started)

        assert entry.running() is not None
        parent.communicate()


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
        StorageError, match=r"cluster\.json: cannot be read \(.*; end Ray's processes yourself, th"
    ):
        find_cluster()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_cluster_that_does_not_start_says_why_and_leaves_nothing(home, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="te_") as folder:  # of this test alone, and short
        monkeypatch.setattr(tempfile, "tempdir", folder)

        with pytest.raises(StorageError, match=r"the cluster did not start: .*; see .*head\.log"):
            start_cluster(cpus=-1)

        assert find_cluster() is None
        assert list(Path(folder).glob("tune_encoder_*")) == []


@slow
@patient
def test_if_ray_ends_while_it_starts_it_is_started_again(home, monkeypatch):
    cpus, command = [-1, 1], start._command

    def once_wrong(port, page_port, folder, _):
        return command(port, page_port, folder, cpus.pop(0))

    monkeypatch.setattr(start, "_command", once_wrong)
    try:
        cluster, is_new = start_cluster()
        assert is_new
        assert find_cluster() == cluster
    finally:
        stop_cluster()
    assert cpus == []


def test_a_cluster_without_a_place_for_its_state_names_a_variable(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.delenv("TUNE_ENCODER_CACHE")

    with pytest.raises(StorageError, match=r"cannot be written .*; set TUNE_ENCODER_CACHE to a"):
        start_cluster()
