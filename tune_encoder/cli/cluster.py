"""cluster start, cluster status, cluster stop."""

import argparse
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_json, print_view, table_lines

if TYPE_CHECKING:
    from tune_encoder.tuning.cluster.state import Cluster


def add_cluster(commands: Commands) -> None:
    """Add the command `cluster`."""
    doc = "Run a Ray cluster on this machine that several searches share."
    parser = commands.add_parser("cluster", help=doc, description=doc)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    start = add_command(actions, "start", _start)
    start.add_argument("--cpus", type=int, help="CPUs that trials may use (default: all)")
    start.add_argument(
        "--metrics",
        action="store_true",
        help="let searches on it export metrics for Prometheus, to this machine only",
    )
    add_json(add_command(actions, "status", _status))
    add_command(actions, "stop", _stop)


def _start(options: argparse.Namespace) -> None:
    """Start the cluster; it runs until `cluster stop`."""
    from tune_encoder.tuning.cluster.start import start_cluster

    cluster, is_new = start_cluster(options.cpus, options.metrics)
    print(f"started at {cluster.address}" if is_new else f"already running at {cluster.address}")
    print("\n".join(_dashboard_lines(cluster)))
    print("search on it:  tune-encoder search --address auto")


def _status(options: argparse.Namespace) -> None:
    """Show the cluster's address, resources and processes."""
    from tune_encoder.tuning.cluster.state import cluster_load, find_cluster

    if (cluster := find_cluster()) is None:
        print_view(
            options, None, ["no cluster is running; start one with `tune-encoder cluster start`"]
        )
        return
    used, running = cluster_load(cluster), cluster.running()
    content = {
        "address": cluster.address,
        "page": cluster.page,
        "used": {name: amount for name, (amount, _) in used.items()},
        "total": {name: amount for name, (_, amount) in used.items()},
        "pids": [process.pid for process in running],
    }
    lines = [f"{name}s in use:   {a:g} of {b:g}" for name, (a, b) in used.items()]
    processes = table_lines("lrl", [("", str(process.pid), process.name) for process in running])
    head = f"running at {cluster.address}"
    print_view(
        options, content, [head, *_dashboard_lines(cluster), *lines, "processes:", *processes]
    )


def _stop(options: argparse.Namespace) -> None:
    """Stop the cluster and everything that runs on it."""
    from tune_encoder.tuning.cluster.stop import stop_cluster

    cluster = stop_cluster()
    print(
        "no cluster is running" if cluster is None else f"stopped the cluster at {cluster.address}"
    )


def _dashboard_lines(cluster: "Cluster") -> list[str]:
    return [f"Ray dashboard:  {cluster.page}, with the token of `ray get-auth-token`"]
