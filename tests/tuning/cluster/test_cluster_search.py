"""Searches on a cluster of two nodes, both on this machine: one dies, one joins, one sees less."""

import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray

from tests.ports import own_port
from tests.tuning.conftest import ENDED_S, STARTED_S, TINY_SPACE, Command, finish
from tune_encoder.errors import StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import needed_checkpoints
from tune_encoder.system.files import cache_dir
from tune_encoder.system.lock import read_note
from tune_encoder.system.ports import LOOPBACK
from tune_encoder.tuning.cluster.ray_settings import ENVIRONMENT, protect_token
from tune_encoder.tuning.cluster.state import Cluster, cluster_usage, process_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

N_TRIALS, EPOCHS = 4, 60  # so long that a node can join meanwhile
LONG = {
    "budget": {"trials": N_TRIALS, "epochs": EPOCHS},
    "scheduler": {"name": "none"},
    "resources": {"cpus": 1},
}
SHORT: dict[str, Any] = {"budget": {"trials": 2, "epochs": 2}, "scheduler": {"name": "none"}}


@pytest.fixture
def head():
    with a_head(1) as cluster:
        yield cluster


@contextmanager
def a_head(cpus):
    """A cluster that nodes can join, with a head of so many CPUs."""
    address = f"{ray.util.get_node_ip_address()}:{own_port()}"
    page_port = own_port()  # not where other tests start theirs
    port = address.rpartition(":")[2]
    protect_token()
    options = ["--head", f"--port={port}", f"--dashboard-port={page_port}"]
    options += [f"--dashboard-host={LOOPBACK}", f"--num-cpus={cpus}"]
    with started(options) as process:
        ours = [process_of(psutil.Process(process.pid))]
        cluster = Cluster(address, f"http://{LOOPBACK}:{page_port}", "", ours)
        wait_for_cpus(cluster, cpus)
        yield cluster


@contextmanager
def node(head, cpus, *hidden: Path):
    """One more node on this machine, with these folders empty; gives its process."""
    with started([f"--address={head.address}", f"--num-cpus={cpus}"], *hidden) as process:
        yield process


@contextmanager
def started(options, *hidden: Path):
    folder = tempfile.mkdtemp(prefix="te_")  # the path of a socket has at most 107 letters
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
    command += [f"--temp-dir={folder}"]
    if hidden:
        mounts = [f"mount -t tmpfs none {shlex.quote(str(each))}" for each in hidden]
        command = [
            "unshare",
            "-m",
            "sh",
            "-c",
            " && ".join([*mounts, f"exec {shlex.join(command)}"]),
        ]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, **quiet)
    try:
        yield process
    finally:
        kill(process)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_cpus(head, cpus):
    deadline = time.monotonic() + STARTED_S
    while (there := cpus_of(head)) != cpus:
        assert time.monotonic() < deadline, there
        time.sleep(0.2)


def cpus_of(head) -> float:
    """How many CPUs its nodes have; a head without any says nothing of CPUs."""
    with suppress(StorageError):
        used = cluster_usage(head)
        return used.get("CPU", [0, 0])[1] if "memory" in used else -1
    return -1


def kill(process):
    """End a node as a power cut does."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        for each in [first, *first.children(recursive=True)]:
            each.kill()
    process.wait()


@pytest.mark.long
def test_a_search_survives_the_death_of_a_node_and_uses_one_that_joins(command, head):
    with node(head, 1) as doomed:
        wait_for_cpus(head, 2)
        process = command.start(*command.search_options(LONG), "--address", head.address)
        command.wait_for_rows(process, 1)
        wait_for(process, lambda: sum(len(t.rows) > 2 for t in command.experiment.trials()) == 2)
        kill(doomed)
        died = time.time()
        stood = command.experiment.trials()
        wait_for(process, lambda: second_attempts(command))
        logging.info("back at work after %.1f s", second_attempts(command)[0] - died)
        with node(head, 1) as joined:
            wait_for(process, lambda: workers(command) & processes(joined))
            _, error = finish(process, ENDED_S)

    assert process.returncode == 0, error
    ended = {trial.number: trial for trial in command.experiment.trials()}
    assert len(ended) == N_TRIALS
    for trial in ended.values():
        assert trial.state == "COMPLETE", trial.reason
        assert [row["epoch"] for row in trial.rows] == [*range(1, EPOCHS + 1)]
    for trial in stood:  # every epoch that stood in the record had its checkpoint: none is redone
        seconds = [row["seconds"] for row in trial.rows]
        assert [row["seconds"] for row in ended[trial.number].rows[: len(seconds)]] == seconds
    assert {row["attempt"] for trial in ended.values() for row in trial.rows} == {1, 2}


def wait_for(process, comes) -> None:
    """Wait for something while the process runs."""
    deadline = time.monotonic() + STARTED_S
    while not comes():
        assert process.poll() is None, process.communicate()[1]
        if time.monotonic() > deadline:
            finish(process, 0)
        time.sleep(0.1)


def second_attempts(command) -> list[float]:
    """When trials that lost their node trained an epoch again, in order."""
    rows = [row for trial in command.experiment.trials() for row in trial.rows]
    return sorted(row["recorded_at"] for row in rows if row["attempt"] > 1)


def workers(command) -> set[int]:
    """Processes that trained an epoch."""
    rows = [row for trial in command.experiment.trials() for row in trial.rows]
    return {int(row["worker"].rpartition(":")[2]) for row in rows}


def processes(node) -> set[int]:
    """The processes of a node."""
    return {child.pid for child in psutil.Process(node.pid).children(recursive=True)}


# --- a node that sees less -----------------------------------------------------------------------


needs_unshare = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="a file system of its own for a process needs root",
)


@pytest.fixture(scope="module")
def apart(tmp_path_factory, data_dir, model_dir, s3_module):
    """Searches on a node that sees neither cache nor experiments: without a storage and with one.

    The second starts from a model that lies in the cache, and is confirmed.
    """
    command = Command(tmp_path_factory.mktemp("apart"), data_dir)
    runs, model = command.folder / "runs", cache_dir() / "model"
    runs.mkdir()
    shutil.copytree(model_dir, model)
    confirmed = {
        **SHORT,
        "budget": {**SHORT["budget"], "seeds": 2},
        "base": {**TINY_SPACE["base"], "init_from": str(model)},
    }
    with a_head(0) as head, node(head, 2, cache_dir(), runs) as process:
        wait_for_cpus(head, 2)
        there = ["--address", head.address]
        refused = command.run(*command.search_options(SHORT), *there)
        shutil.rmtree(command.experiment.path)
        storage = ["--storage", f"s3://{s3_module.make_bucket()}"]
        done = command.run(*command.search_options(confirmed), *storage, *there)
        assert done.returncode == 0, done.stderr
        (confirming,) = (command.experiment.path / "confirm").iterdir()
        of_node = Path(f"/proc/{process.pid}/root")
        yield SimpleNamespace(
            command=command, head=head, refused=refused, model=model,
            confirming=confirming, confirmed_at=read_note(confirming),
            hidden_runs=Path(f"{of_node}{runs}"), hidden_cache=Path(f"{of_node}{cache_dir()}"),
        )  # fmt: skip


@needs_unshare
def test_a_node_that_does_not_see_the_experiment_ends_the_search_with_a_line(apart):
    error = apart.refused.stderr

    assert apart.refused.returncode == 4
    assert "does not exist on node " in error
    assert "; put --root on a disk that all nodes of the cluster sh" in error
    assert "Traceback" not in error


@needs_unshare
def test_a_node_that_does_not_see_the_experiment_works_with_a_storage(apart):
    experiment = apart.command.experiment

    assert list(apart.hidden_runs.iterdir()) == []
    for trial in experiment.trials():
        assert trial.state == "COMPLETE"
        assert len(experiment.trial_metrics(trial.number).read_text().splitlines()) == 2
        assert list(experiment.trial_dir(trial.number).glob("logs/events.*"))
        kept = experiment.checkpoint_files(trial.number)
        assert len(kept) == len(needed_checkpoints(trial))


@needs_unshare
def test_the_trials_of_a_search_are_confirmed_where_they_were_trained(apart):
    assert len(apart.command.experiment.trials()) == 2
    assert len(Experiment(apart.confirming).trials()) == 4
    assert apart.confirmed_at == apart.head.page


@needs_unshare
def test_a_node_without_pack_and_model_fetches_them_once_for_its_trials_and_their_confirmation(
    apart,
):
    packs = apart.hidden_cache / "packs"

    (fetched,) = (path.name for path in packs.iterdir() if not path.name.startswith("."))
    for file in (cache_dir() / "packs" / fetched).iterdir():
        assert (packs / fetched / file.name).read_bytes() == file.read_bytes()
    (copied,) = packs.with_name("models").glob("[!.]*")
    for file in apart.model.iterdir():
        assert (copied / file.name).read_bytes() == file.read_bytes()
