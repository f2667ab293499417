"""report."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_encoder.cli.common import add_command, add_root

if TYPE_CHECKING:
    from tune_encoder.api.results import Experiment


def add_report(commands: Any) -> None:
    """Add the command `report`."""
    parser = add_command(commands, "report", _report)
    parser.add_argument("name", help="experiment; it may be running")
    parser.add_argument(
        "--compare", nargs="+", default=[], metavar="NAME", help="show these beside it"
    )
    parser.add_argument("--to", type=Path, help="file (default: report.html within the experiment)")
    add_root(parser)


def _report(options: argparse.Namespace) -> None:
    """Write all that is known of a search as one HTML page."""
    from tune_encoder.api.results import Experiment
    from tune_encoder.experiment.folder import open_experiment

    experiment = Experiment(open_experiment(options.root, options.name).path)
    print(f"report: {experiment.report(options.to, options.compare)}")


def write_report_at_end(experiment: "Experiment") -> Path | None:
    """Write the report of a search that has ended; without one the search is no worse.

    Returns:
        Its path, or None once it is said why there is none.
    """
    from tune_encoder.experiment.commands import command_line

    try:
        return experiment.report()
    except Exception as error:  # noqa: BLE001  (whatever it is, hours of training are done)
        why = " ".join(str(error).split()) or type(error).__name__
        again = command_line("report", experiment.path)
        print(f"warning: no report was written ({why}); try `{again}`", file=sys.stderr)
        return None
