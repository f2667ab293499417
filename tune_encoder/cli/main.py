"""The entry point: each command parses its options, calls one function, and prints.

Heavy imports are inside the commands, so that `--help` is fast.
"""

import argparse
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import tune_encoder
from tune_encoder.cli.clone import add_clone
from tune_encoder.cli.cluster import add_cluster
from tune_encoder.cli.completion import add_completion, complete_if_asked
from tune_encoder.cli.confirm import add_confirm
from tune_encoder.cli.control import add_control
from tune_encoder.cli.dashboard import add_dashboard
from tune_encoder.cli.data import add_data
from tune_encoder.cli.export import add_export
from tune_encoder.cli.guide import add_guide
from tune_encoder.cli.jobs import add_jobs
from tune_encoder.cli.listen import add_listen
from tune_encoder.cli.output import outcome_of, printing
from tune_encoder.cli.portfolio import add_portfolio
from tune_encoder.cli.repair import add_repair
from tune_encoder.cli.report import add_report
from tune_encoder.cli.retrain import add_retrain
from tune_encoder.cli.search import add_fork, add_resume, add_search
from tune_encoder.cli.serve import add_serve
from tune_encoder.cli.space import add_space
from tune_encoder.cli.submit import add_submit
from tune_encoder.cli.track import add_track
from tune_encoder.cli.train import add_evaluate, add_train
from tune_encoder.cli.views import add_views
from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.system.memory import collect_garbage_rarely
from tune_encoder.system.streams import Streams, standard_streams


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code; `errors` lists the codes."""
    parser = make_parser()
    complete_if_asked(parser)
    collect_garbage_rarely()
    with standard_streams() as streams:
        sys.exit(_run(parser, arguments, streams))


def _run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, streams: Streams) -> int:
    """Run one command; an error is said in a line. Returns the exit code."""
    options = argparse.Namespace(debug=False)
    try:
        with _flushed():
            parser.parse_args(arguments, options)
            streams.outlives_reader = options.outlives_reader
            with printing(options, sys.stdout, sys.stderr):
                options.command(options)
    except (TuneEncoderError, OSError, KeyboardInterrupt) as error:
        if options.debug:
            traceback.print_exc()
        exit_code, line = outcome_of(error)
        print(f"tune-encoder: {line}", file=sys.stderr)
        return exit_code
    return 0


@contextmanager
def _flushed() -> Iterator[None]:
    """Write what was printed, also before an error, where it can be said that it cannot be."""
    try:
        yield
    finally:
        sys.stdout.flush()


class _Parser(argparse.ArgumentParser):
    """Says an error in a line that is not longer than other errors."""

    def error(self, message: str) -> NoReturn:
        super().error(error_line(message))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(prog="tune-encoder", description=tune_encoder.__doc__)
    parser.add_argument(
        "--version", action="version", version=f"tune-encoder {tune_encoder.__version__}"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_search(commands)
    add_resume(commands)
    add_fork(commands)
    add_submit(commands)
    add_jobs(commands)
    add_views(commands)
    add_dashboard(commands)
    add_serve(commands)
    add_cluster(commands)
    add_control(commands)
    add_repair(commands)
    add_export(commands)
    add_retrain(commands)
    add_report(commands)
    add_track(commands)
    add_confirm(commands)
    add_clone(commands)
    add_listen(commands)
    add_evaluate(commands)
    add_train(commands)
    add_data(commands)
    add_space(commands)
    add_portfolio(commands)
    add_guide(commands)
    add_completion(commands)
    return parser
