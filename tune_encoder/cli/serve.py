"""serve."""

import argparse
import sys

from tune_encoder.cli.common import Commands, add_command, add_root
from tune_encoder.config import PAGE_PORT
from tune_encoder.errors import ConfigError


def add_serve(commands: Commands) -> None:
    """Add the command `serve`."""
    parser = add_command(commands, "serve", _serve)
    add_root(parser)
    parser.add_argument(
        "--port", type=int, default=PAGE_PORT, help=f"port on 127.0.0.1 (default: {PAGE_PORT})"
    )
    parser.add_argument("--read-only", action="store_true", help="only show searches")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def _serve(options: argparse.Namespace) -> None:
    """Serve a live page of all searches on this machine, until Ctrl-C."""
    try:
        from tune_encoder.serve.server import Served, serve
    except ModuleNotFoundError as error:
        if error.name not in ("nicegui", "fastapi", "uvicorn"):
            raise
        raise ConfigError("the page needs NiceGUI: pip install 'tune-encoder[page]'") from error
    serve(Served(options.root, options.port, options.read_only), _say, options.open)


def _say(link: str) -> None:
    print(f"{link}\npress Ctrl-C to stop")
    sys.stdout.flush()
