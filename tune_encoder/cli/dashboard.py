"""dashboard."""

import argparse
import shlex
import signal
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

from tune_encoder.cli.common import Commands, add_command, add_root
from tune_encoder.errors import ConfigError


def add_dashboard(commands: Commands) -> None:
    """Add the command `dashboard`."""
    parser = add_command(commands, "dashboard", _dashboard)
    parser.add_argument("name", nargs="?", help="experiment")
    parser.add_argument("--open", action="store_true", help="open the dashboards in the browser")
    parser.add_argument(
        "--grafana",
        type=Path,
        metavar="DIR",
        help="instead write files with which Prometheus and Grafana show all searches that run "
        "with --metrics",
    )
    add_root(parser)


def _dashboard(options: argparse.Namespace) -> None:
    """Serve TensorBoard and optuna-dashboard for a search on this machine, until Ctrl-C."""
    if options.grafana is not None:
        _write_grafana(options)
        return
    if options.name is None:
        raise ConfigError(
            "name the experiment to show, or write files for Grafana with --grafana DIR"
        )
    from tune_encoder.experiment.dashboards import dashboard_lines, open_dashboards
    from tune_encoder.experiment.folder import open_experiment

    experiment = open_experiment(options.root, options.name)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), open_dashboards(experiment) as pages:
        print("\n".join([*dashboard_lines(pages), "press Ctrl-C to stop"]))
        sys.stdout.flush()
        for page in pages:
            if options.open and page.address:
                webbrowser.open(page.address)
        threading.Event().wait()


def _write_grafana(options: argparse.Namespace) -> None:
    """Write the files for Prometheus and Grafana, and print how to start both."""
    from tune_encoder.experiment.grafana import GRAFANA_PORT, UID, commands, write_grafana
    from tune_encoder.experiment.metrics import targets_folder
    from tune_encoder.system.ports import LOOPBACK
    from tune_encoder.tuning.cluster.temporary import ray_dashboards

    if options.name is not None or options.open:
        raise ConfigError(
            "--grafana writes files for all experiments; leave out the name and --open"
        )
    write_grafana(options.grafana, targets_folder(), ray_dashboards())
    print(f"wrote {options.grafana}; start both, each in a terminal:")
    for command in commands(options.grafana):
        print(f"  {shlex.join(command)}")
    print(f"then open http://{LOOPBACK}:{GRAFANA_PORT}/d/{UID}")
