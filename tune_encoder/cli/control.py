"""stop, pause, kill-trial, add: commands that control a running search."""

import argparse
from collections.abc import Callable

from tune_encoder.cli.common import Commands, add_command, add_json, add_root, print_view
from tune_encoder.cli.jobs import add_jobs_address, stop_job
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import Experiment, open_experiment
from tune_encoder.experiment.steering import (
    add_config,
    continue_search,
    kill_trial,
    pause_search,
    stop_search,
)


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
    _tell(options, stop_search)


def _pause(options: argparse.Namespace) -> None:
    """Pause a running search, or continue it if it is paused."""
    experiment = open_experiment(options.root, options.name)
    if Controls(experiment).pause_requested():
        _tell(options, continue_search)
    else:
        _tell(options, lambda each: f"{pause_search(each)}; run `pause` again to continue")


def _kill_trial(options: argparse.Namespace) -> None:
    """Stop one trial of a running search; the others continue."""
    _tell(options, lambda experiment: kill_trial(experiment, options.trial))


def _add(options: argparse.Namespace) -> None:
    """Add a config that a search tries next; settings that are left out are sampled."""
    _tell(options, lambda experiment: add_config(experiment, options.settings))


def _tell(options: argparse.Namespace, tell: Callable[[Experiment], str]) -> None:
    experiment = open_experiment(options.root, options.name)
    words = tell(experiment)
    print_view(options, {"experiment": experiment.name, "told": words}, [words])
