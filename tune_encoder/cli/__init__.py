"""The command-line interface."""

from tune_encoder.cli.main import main, make_parser

__all__ = ["main", "make_parser"]
