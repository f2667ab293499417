"""The connection of a search to Ray: to a local one that it starts, or to a running cluster."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from ray.job_config import JobConfig

from tune_encoder.config import LaunchSettings, ResourceSettings
from tune_encoder.errors import ConfigError, StorageError, TuneEncoderError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.lock import write_note
from tune_encoder.system.ports import LOOPBACK, free_port
from tune_encoder.system.signals import interruptible
from tune_encoder.tuning.cluster.capacity import check_trial_fits
from tune_encoder.tuning.cluster.metrics import check_metrics
from tune_encoder.tuning.cluster.ray_patches import (
    apart_from_terminal,
    limit_to_loopback,
    without_helper_processes,
)
from tune_encoder.tuning.cluster.ray_settings import (
    LOOPBACK_ONLY,
    METRICS_ON,
    METRICS_PORT,
    protect_token,
    worker_environment,
)
from tune_encoder.tuning.cluster.state import local_address
from tune_encoder.tuning.cluster.temporary import RAY_FOLDER, ray_parent

PORT_TIMEOUT_S = 3.0  # for a cluster's port to answer
JOIN_TIMEOUT_S = 30.0  # for the rest; a loaded machine takes seconds to import Ray
_QUERY_NODES = """
import json, sys, ray
from tune_encoder.tuning.cluster.metrics import metrics_address
ray.init(sys.argv[1], log_to_driver=False)
nodes = [node for node in ray.nodes() if node["Alive"]]
found = [{"resources": each["Resources"], "metrics": metrics_address(each)} for each in nodes]
print("=" + json.dumps(found))
"""
_ANSWER_PREFIX = "="  # of the line that is not a log line of Ray
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_SHORT_TIMEOUT = {"RAY_gcs_server_request_timeout_seconds": "5"}  # Ray's default is a minute
_TOKEN_MISMATCH = re.compile(r"InvalidAuthToken|AuthenticationError|Unauthenticated")
_VERSION_MISMATCH = re.compile(r"Version mismatch")
_NO_NODE = re.compile(r"No node info found")


@contextmanager
def connected(experiment: Experiment, launch: LaunchSettings) -> Iterator[None]:
    """Connect to Ray while the block runs; do nothing if an outer block is connected already.

    Args:
        experiment: The experiment, in whose lock the address of the Ray dashboard is noted.
        launch: Has HOST:PORT of a cluster, as returned by `resolve_address`, or an empty address to
            start a local Ray.

    Raises:
        StorageError: if Ray does not start, or the cluster has disappeared since `resolve_address`.
    """
    if ray.is_initialized():
        yield
        return
    protect_token()
    try:
        with _start_explained(experiment):
            job = _job_config(experiment)
            page = _join_cluster(launch.address, job) if launch.address else _start_ray(launch, job)
        if page:
            write_note(experiment.path, f"http://{page}")
        with interruptible(experiment.stopped_message):  # Ray has set handlers of its own
            yield
    finally:
        ray.shutdown()


@contextmanager
def _start_explained(experiment: Experiment) -> Iterator[None]:
    """Explain in one line why Ray does not start; it raises errors of many types."""
    try:
        yield
    except TuneEncoderError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200].rstrip(". ")
        raise StorageError(
            f"Ray did not start ({reason}); its processes may have been killed, or the machine is "
            f"too busy; resume with `{experiment.command('resume')}`"
        ) from error


def _job_config(experiment: Experiment) -> JobConfig:
    """Return what Ray's pages show of the job of a search, unless it was submitted."""
    content = experiment.read_search()
    known = {
        "job_name": experiment.name,  # as Ray calls it
        "experiment": experiment.name,
        "root": str(experiment.path.parent.absolute()),
        "space": content.get("space_name", ""),
        "data": content["data_dir"],
    }
    return JobConfig(metadata=known)


def _start_ray(launch: LaunchSettings, job: JobConfig) -> str:
    dashboard, metrics = launch.dashboard, launch.metrics
    exporting: dict[str, Any] = {}
    if metrics:
        exporting = {"_metrics_export_port": free_port(METRICS_PORT), "_system_config": METRICS_ON}
    limit_to_loopback(True)
    os.environ.pop(_JOB_CONFIG, None)  # of a job that this process may be part of
    with apart_from_terminal(), nullcontext() if dashboard else without_helper_processes(metrics):
        context = ray.init(
            "local",  # otherwise Ray would connect to any cluster that runs on this machine
            job_config=job,
            include_dashboard=dashboard,
            dashboard_host=LOOPBACK,
            _temp_dir=str(ray_parent(RAY_FOLDER) / RAY_FOLDER),
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **exporting,
        )
    return str(context.dashboard_url) if dashboard else ""


def _join_cluster(address: str, job: JobConfig) -> str:
    limit_to_loopback(address == local_address())
    with apart_from_terminal():
        context = ray.init(
            address,
            job_config=job,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": worker_environment()},
        )
    return context.dashboard_url or ""


# --- before anything is trained ------------------------------------------------------------------


def resolve_address(address: str, resources: ResourceSettings, metrics: bool = False) -> str:
    """Return HOST:PORT of the cluster, after checking that it accepts us and can run a trial.

    Args:
        address: HOST:PORT, or `auto`: that of RAY_ADDRESS, else of `tune-encoder cluster start`.
        resources: What a trial needs.
        metrics: Whether the search exports metrics there.

    Raises:
        ConfigError: if the address is invalid, or of a kind that a search cannot use, or metrics
            would not be exported there, or to others as well.
        StorageError: if nothing answers, our token or versions do not match, or no node is large
            enough.
    """
    found = address
    if address == "auto":
        found = os.environ.get("RAY_ADDRESS") or local_address()
    if not found:
        raise StorageError(
            "no cluster is running on this machine; start one with `tune-encoder cluster start`, "
            "or name one with --address HOST:PORT"
        )
    host, port = _split_address(found)
    try:
        socket.create_connection((host, port), PORT_TIMEOUT_S).close()
    except OSError as error:
        raise StorageError(
            f"nothing answers at {host}:{port} ({error}); give the address that the cluster's "
            "head node printed when it was started"
        ) from error
    protect_token()
    nodes = _query_nodes(f"{host}:{port}")
    check_trial_fits(resources, [node["resources"] for node in nodes])
    if metrics:
        check_metrics(f"{host}:{port}", [node["metrics"] for node in nodes])
    return f"{host}:{port}"


def _split_address(address: str) -> tuple[str, int]:
    if "://" in address:
        raise ConfigError(
            f"address is {address}, but a search has to run on a node of the cluster: run "
            "`ray start --address HOST:PORT --num-cpus 0` here and give HOST:PORT, or submit the "
            "search with `tune-encoder submit --address http://HOST:8265`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigError(f"address is {address}; it must be HOST:PORT, such as head:6379, or auto")
    return host, int(port)


def _query_nodes(address: str) -> list[dict[str, Any]]:
    """Return resources and address of metrics of each node, queried by another process.

    With a wrong token Ray retries for 20 s, and prints the reason instead of putting it into its
    error.
    """
    place = LOOPBACK_ONLY if address == local_address() else {}
    process = subprocess.Popen(
        [sys.executable, "-c", _QUERY_NODES, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **_SHORT_TIMEOUT, **place},
    )
    limit = threading.Timer(JOIN_TIMEOUT_S, process.kill)
    limit.start()
    said = []
    try:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                said.append(line.strip())
                if _TOKEN_MISMATCH.search(line):
                    process.kill()
    finally:
        limit.cancel()
        ended = process.wait()
    if ended:
        raise StorageError(f"{address}: {explain_ray_error(said)}")
    nodes: list[dict[str, Any]] = json.loads(
        next(x for x in said if x.startswith(_ANSWER_PREFIX))[1:]
    )
    return nodes


def explain_ray_error(said: list[str]) -> str:
    """Explain in one line what Ray printed before it gave up."""
    text = " ".join(said)
    if _TOKEN_MISMATCH.search(text):
        return (
            "the cluster rejects our token; put the cluster's token into ~/.ray/auth_token, or set "
            "RAY_AUTH_TOKEN_PATH to its file"
        )
    if _VERSION_MISMATCH.search(text):
        _, _, versions = text.partition("Version mismatch:")
        return (
            f"versions of Ray or Python differ: {versions.strip()[:300]} Install the cluster's "
            "versions here"
        )
    if _NO_NODE.search(text):
        return (
            "this machine is not a node of the cluster; run `ray start --address HOST:PORT "
            "--num-cpus 0` here first"
        )
    last = next((line for line in reversed(said) if line), f"no answer in {JOIN_TIMEOUT_S:g} s")
    return f"Ray does not connect ({last[:200]}); check that a Ray cluster is running there"
