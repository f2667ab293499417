"""stop, pause, kill-trial, add: what a person asks of a search from another shell."""

import argparse
from pathlib import Path
from typing import Any

from tune_encoder.cli.common import add_command, add_json, add_root, print_view
from tune_encoder.cli.jobs import add_jobs_address, stop_job
from tune_encoder.config import parse_assignment
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import Experiment, open_experiment
from tune_encoder.system.lock import lock_holder


def add_control(commands: Any) -> None:
    """Add the commands."""
    parser = _add_experiment_options(add_command(commands, "stop", _stop))
    add_jobs_address(parser, "stop a submitted search on this cluster")
    _add_experiment_options(add_command(commands, "pause", _pause))
    parser = _add_experiment_options(add_command(commands, "kill-trial", _kill_trial))
    parser.add_argument("trial", type=int, help="number of the trial")
    parser = _add_experiment_options(add_command(commands, "add", _add))
    parser.add_argument("settings", nargs="+", metavar="KEY=VALUE", help="searched settings")


def _add_experiment_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("name", help="experiment")
    add_root(parser)
    add_json(parser)
    return parser


def _stop(options: argparse.Namespace) -> None:
    """Let a running search finish its epochs, save and end."""
    if options.address is not None:
        stop_job(options)
        return
    experiment = _open_running(options.root, options.name)
    Controls(experiment).ask_stop()
    _print_message(options, experiment, f"{experiment.name} ends after the running epochs")


def _pause(options: argparse.Namespace) -> None:
    """Let a running search wait, or go on if it waits."""
    experiment = _open_running(options.root, options.name)
    controls = Controls(experiment)
    if controls.pauses():
        controls.withdraw()
        _print_message(options, experiment, f"{experiment.name} goes on")
    else:
        controls.ask_pause()
        _print_message(
            options, experiment, f"{experiment.name} waits after the running epochs; again: on"
        )


def _kill_trial(options: argparse.Namespace) -> None:
    """End one trial of a search; the others go on."""
    experiment = _open_running(options.root, options.name)
    trials = {trial.number: trial for trial in experiment.trials()}
    trial = trials.get(options.trial)
    if trial is None or trial.state != "RUNNING":
        going = ", ".join(str(n) for n, each in trials.items() if each.state == "RUNNING")
        raise ConfigError(
            f"{experiment.name} has no unfinished trial {options.trial}; these are unfinished: "
            f"{going or 'none'}"
        )
    Controls(experiment).ask_end(options.trial)
    _print_message(options, experiment, f"trial {options.trial} ends after its epoch")


def _add(options: argparse.Namespace) -> None:
    """Let a search try a config next; what it leaves open is drawn."""
    from tune_encoder.space import parse_space

    experiment = open_experiment(options.root, options.name)
    content = experiment.search()["space"]
    params = dict(parse_assignment(text) for text in options.settings)
    # Reading it as the first config of the space checks it as such.
    parse_space({**content, "start": [params]}, "command line", Path())
    Controls(experiment).ask_add(params)
    when = "next" if lock_holder(experiment.path) else "at the next resume"
    _print_message(options, experiment, f"{experiment.name} tries it {when}")


def _open_running(root: Path, name: str) -> Experiment:
    experiment = open_experiment(root, name)
    if lock_holder(experiment.path) is None:
        raise ConfigError(
            f"{experiment.path}: is not running; go on with `{experiment.command('resume')}`"
        )
    return experiment


def _print_message(options: argparse.Namespace, experiment: Experiment, words: str) -> None:
    print_view(options, {"experiment": experiment.name, "told": words}, [words])
