"""portfolio: the most useful configs of earlier searches, as a `start` section."""

import argparse
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_root

if TYPE_CHECKING:
    from tune_encoder.experiment.portfolio import Start


def add_portfolio(commands: Commands) -> None:
    """Add the command `portfolio`."""
    parser = add_command(commands, "portfolio", _portfolio)
    parser.add_argument("names", nargs="+", metavar="NAME", help="experiments to choose from")
    parser.add_argument(
        "--space",
        help="YAML file or built-in space that the configs are for (default: the first "
        "experiment's)",
    )
    parser.add_argument("--size", type=int, default=0, help="most configs (default: up to 8)")
    add_root(parser)


def _portfolio(options: argparse.Namespace) -> None:
    """Write the most useful configs of earlier searches as a `start` section."""
    from tune_encoder.api.experiments import portfolio

    starts = portfolio(options.names, options.space, options.size, options.root)
    print("\n".join(["start:", *map(_entry, starts)]))


def _entry(start: "Start") -> str:
    from tune_encoder.config import write_yaml

    first, *more = write_yaml(start.config).splitlines()
    return "\n".join([f"  - {first}  # from {start.origin}", *(f"    {line}" for line in more)])
