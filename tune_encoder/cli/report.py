"""report."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_root
from tune_encoder.errors import error_line

if TYPE_CHECKING:
    from tune_encoder.api.results import Experiment


def add_report(commands: Commands) -> None:
    """Add the command `report`."""
    parser = add_command(commands, "report", _report, outlives_reader=True)
    parser.add_argument("name", help="experiment; it may be running")
    parser.add_argument(
        "--compare", nargs="+", default=[], metavar="NAME", help="experiments to compare it with"
    )
    parser.add_argument(
        "--to", type=Path, help="file to write (default: report.html in the experiment)"
    )
    add_root(parser)


def _report(options: argparse.Namespace) -> None:
    """Write an HTML report of a search."""
    from tune_encoder.api.results import Experiment
    from tune_encoder.experiment.folder import open_experiment

    experiment = Experiment(open_experiment(options.root, options.name).path)
    print(f"report: {experiment.report(options.to, options.compare)}")


def write_report_at_end(experiment: "Experiment") -> Path | None:
    """Write the report of a search that has ended; a failure is only a warning.

    Returns:
        Its path, or None after a warning that says why there is none.
    """
    from tune_encoder.experiment.commands import command_line

    try:
        return experiment.report()
    except Exception as error:  # noqa: BLE001  (must not lose the result of hours of training)
        why = error_line(error) or type(error).__name__
        again = command_line("report", experiment.path)
        print(f"warning: no report was written ({why}); try `{again}`", file=sys.stderr)
        return None
