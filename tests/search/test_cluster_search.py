"""Searches on a cluster of two nodes, both on this machine: one dies, one joins, one sees less."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.search.conftest import ENDED_S, STARTED_S, finish
from tune_encoder.config import cache_dir
from tune_encoder.ray_settings import ENVIRONMENT, protect_token

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

EPOCHS = 40
LONG = {
    "budget": {"trials": 4, "epochs": EPOCHS},
    "scheduler": {"name": "none"},
    "resources": {"cpus": 1},
}
SHORT = {"budget": {"trials": 2, "epochs": 2}, "scheduler": {"name": "none"}}


@pytest.fixture(params=[1])
def cluster(monkeypatch, request):
    """A head with so many CPUs, which other programs' `ray.init()` does not find."""
    folder = tempfile.mkdtemp(prefix="te_")  # the path of a socket has at most 107 letters
    for name, value in {**ENVIRONMENT, "RAY_TMPDIR": folder}.items():
        monkeypatch.setenv(name, value)
    protect_token()
    alone = {"num_cpus": request.param, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=alone)
    yield nodes
    nodes.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def on(cluster):
    return "--address", cluster.address


def test_a_search_survives_the_death_of_a_node_and_uses_one_that_joins(command, cluster):
    doomed = cluster.add_node(num_cpus=1)
    process = command.start(*command.search_options(LONG), *on(cluster))
    command.wait_for_rows(process, 10)
    both = [trial.number for trial in command.experiment.trials() if trial.rows]
    died = time.time()
    cluster.remove_node(doomed, allow_graceful=False)
    stood = command.experiment.trials()
    moved = wait_for_second_attempt(command, process)
    print(f"back at work after {moved - died:.1f} s")
    joined = command.n_rows()
    cluster.add_node(num_cpus=1)
    _, error = finish(process, ENDED_S)

    assert process.returncode == 0, error
    assert len(both) == 2  # one on each node
    ended = {trial.number: trial for trial in command.experiment.trials()}
    assert len(ended) == 4
    for trial in ended.values():
        assert trial.state == "COMPLETE", trial.reason
        assert [row["epoch"] for row in trial.rows] == [*range(1, EPOCHS + 1)]
    for trial in stood:  # every epoch that stood in the record had its checkpoint: none is redone
        seconds = [row["seconds"] for row in trial.rows]
        assert [row["seconds"] for row in ended[trial.number].rows[: len(seconds)]] == seconds
    assert {row["attempt"] for trial in ended.values() for row in trial.rows} == {1, 2}
    assert at_once(ended.values(), joined)


def wait_for_second_attempt(command, process) -> float:
    """Wait until a trial that lost its node has trained again; returns when it had."""
    deadline = time.monotonic() + STARTED_S
    while time.monotonic() < deadline:
        for trial in command.experiment.trials():
            for row in trial.rows:
                if row["attempt"] > 1:
                    return row["recorded_at"]
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    finish(process, 0)
    raise AssertionError


def at_once(trials, since: int) -> bool:
    """Whether two trials were under way at once after so many rows: their rows alternate."""
    spans = [[row["order"] for row in trial.rows if row["order"] >= since] for trial in trials]
    spans = [(orders[0], orders[-1]) for orders in spans if orders]
    return any(a[0] < b[0] < a[1] for a in spans for b in spans)


# --- a node that sees less -----------------------------------------------------------------------


@contextmanager
def blind_node(cluster, *hidden: Path):
    """A node with two CPUs on whose disk these folders are empty."""
    mounts = " && ".join(f"mount -t tmpfs none '{folder}'" for folder in hidden)
    ray = f"{sys.executable} -m ray.scripts.scripts start --block --num-cpus=2"
    shell = f"{mounts} && exec {ray} --address={cluster.address} --dashboard-agent-listen-port=0"
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", shell], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        cluster.wait_for_nodes(STARTED_S)
        yield Path(f"/proc/{process.pid}/root")
    finally:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
        for each in family:
            each.send_signal(signal.SIGKILL)
        process.wait()


needs_unshare = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="a file system of its own for a process needs root",
)


@needs_unshare
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_node_without_the_pack_fetches_it_once_for_its_trials(command, cluster):
    with blind_node(cluster, cache_dir()) as root:
        done = command.run(*command.search_options(SHORT), *on(cluster))

        packs = Path(f"{root}{cache_dir()}") / "packs"
        fetched = [path.name for path in packs.iterdir() if not path.name.startswith(".")]
        assert done.returncode == 0, done.stderr
        assert [trial.state for trial in command.experiment.trials()] == ["COMPLETE"] * 2
        (name,) = fetched
        for file in (cache_dir() / "packs" / name).iterdir():
            assert (packs / name / file.name).read_bytes() == file.read_bytes()


@needs_unshare
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_node_that_does_not_see_the_experiment_ends_the_search_with_a_line(command, cluster):
    (command.folder / "runs").mkdir()
    with blind_node(cluster, command.folder / "runs"):
        done = command.run(*command.search_options(SHORT), *on(cluster))

    assert done.returncode == 4
    assert "does not see it; put --root on a disk that all nodes of the cluster sh" in done.stderr
    assert "Traceback" not in done.stderr
