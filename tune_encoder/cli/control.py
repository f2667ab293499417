"""stop, pause, kill-trial, add: commands that control a running search."""

import argparse

from tune_encoder.api import steering
from tune_encoder.cli.common import Commands, add_command, add_json, add_root, print_view
from tune_encoder.cli.jobs import add_jobs_address, stop_job
from tune_encoder.config import parse_assignment
from tune_encoder.experiment.folder import Experiment, open_experiment


def add_control(commands: Commands) -> None:
    """Add the commands that control a search."""
    parser = _add_experiment_options(add_command(commands, "stop", _stop))
    add_jobs_address(parser, "stop a submitted search on this cluster")
    _add_experiment_options(add_command(commands, "pause", _pause))
    parser = _add_experiment_options(add_command(commands, "kill-trial", _kill_trial))
    parser.add_argument("trial", type=int, help="number of the trial")
    parser = _add_experiment_options(add_command(commands, "add", _add))
    parser.add_argument(
        "settings", nargs="+", metavar="KEY=VALUE", help="values of searched settings"
    )


def _add_experiment_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("name", help="experiment")
    add_root(parser)
    add_json(parser)
    return parser


def _stop(options: argparse.Namespace) -> None:
    """Stop a running search after its current epochs; everything is saved."""
    if options.address is not None:
        stop_job(options)
        return
    _print_message(options, steering.stop(_experiment(options)))


def _pause(options: argparse.Namespace) -> None:
    """Pause a running search, or continue it if it is paused."""
    _print_message(options, steering.pause(_experiment(options)))


def _kill_trial(options: argparse.Namespace) -> None:
    """Stop one trial of a running search; the others continue."""
    _print_message(options, steering.kill_trial(_experiment(options), options.trial))


def _add(options: argparse.Namespace) -> None:
    """Add a config that a search tries next; settings that are left out are sampled."""
    experiment = _experiment(options)
    settings = dict(parse_assignment(text, "add") for text in options.settings)
    _print_message(options, steering.add(experiment, settings))


def _experiment(options: argparse.Namespace) -> Experiment:
    return open_experiment(options.root, options.name)


def _print_message(options: argparse.Namespace, words: str) -> None:
    print_view(options, {"experiment": options.name, "told": words}, [words])
