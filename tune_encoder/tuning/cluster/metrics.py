"""Where Ray exports metrics, for a Prometheus on the same machine.

Ray's port for it asks for no token. So it is opened only where it listens on loopback.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import ray

from tune_encoder.errors import ConfigError
from tune_encoder.experiment.metrics import targets_folder
from tune_encoder.system.files import atomic_write, make_cache_folder
from tune_encoder.system.ports import LOOPBACK

_NO_PORT = -1  # of a node that exports nothing, in Ray


@contextmanager
def announced_metrics() -> Iterator[str]:
    """Name the metrics of this machine to Prometheus while the block runs; yields their URL."""
    here = ray.get_runtime_context().get_node_id()
    (address,) = (metrics_address(node) for node in ray.nodes() if node["NodeID"] == here)
    make_cache_folder(targets_folder())
    _remove_leftovers()
    file = targets_folder() / f"{os.getpid()}.json"
    found = [{"targets": [address], "labels": {"job": "tune_encoder"}}]
    atomic_write(file, json.dumps(found).encode())
    try:
        yield f"http://{address}/metrics"
    finally:
        file.unlink(missing_ok=True)


def _remove_leftovers() -> None:
    """Remove the files of searches that were killed."""
    for file in targets_folder().glob("*.json"):
        if not (file.stem.isdigit() and psutil.pid_exists(int(file.stem))):
            file.unlink(missing_ok=True)


def metrics_address(node: Mapping[str, Any]) -> str:
    """Return HOST:PORT of the metrics of a node of `ray.nodes()`; empty if it exports none."""
    port = int(node.get("MetricsExportPort", _NO_PORT))
    return f"{node['NodeManagerAddress']}:{port}" if port > 0 else ""


def check_metrics(address: str, exported: list[str]) -> None:
    """Check that the metrics of a search on a cluster stay on this machine.

    Args:
        address: HOST:PORT of the cluster.
        exported: Where each node exports metrics; empty for a node that does not.

    Raises:
        ConfigError: if a node exports none, or others than this machine can read them.
    """
    if not all(each.startswith(f"{LOOPBACK}:") for each in exported if each):
        raise ConfigError(
            f"metrics: the cluster at {address} exports metrics to its network, on ports without a "
            "token; leave the option out, or run the search without an address"
        )
    if not all(exported):
        raise ConfigError(
            f"metrics: the cluster at {address} exports none; start it again with "
            "`tune-encoder cluster start --metrics`, or run the search without an address"
        )


def exports_metrics() -> bool:
    """Whether any node of the cluster exports metrics."""
    return any(metrics_address(node) for node in ray.nodes() if node["Alive"])
