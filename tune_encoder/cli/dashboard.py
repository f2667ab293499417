"""dashboard."""

import argparse
import signal
import sys
import threading
import webbrowser
from contextlib import suppress

from tune_encoder.cli.common import Commands, add_command, add_root


def add_dashboard(commands: Commands) -> None:
    """Add the command `dashboard`."""
    parser = add_command(commands, "dashboard", _dashboard)
    parser.add_argument("name", help="experiment")
    parser.add_argument("--open", action="store_true", help="open the dashboards in the browser")
    add_root(parser)


def _dashboard(options: argparse.Namespace) -> None:
    """Serve TensorBoard and optuna-dashboard for a search on this machine, until Ctrl-C."""
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
