"""stop, pause, kill-trial, add: commands that control a running search."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_json, add_root, print_view
from tune_encoder.cli.jobs import add_jobs_address, stop_job
from tune_encoder.config import parse_assignment
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import Experiment, open_experiment
from tune_encoder.system.lock import lock_holder

if TYPE_CHECKING:
    from tune_encoder.space import SearchSpace


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
    experiment = _open_running(options.root, options.name)
    Controls(experiment).request_stop()
    _print_message(options, experiment, f"{experiment.name} stops after the current epochs")


def _pause(options: argparse.Namespace) -> None:
    """Pause a running search, or continue it if it is paused."""
    experiment = _open_running(options.root, options.name)
    controls = Controls(experiment)
    if controls.pause_requested():
        controls.clear()
        _print_message(options, experiment, f"{experiment.name} continues")
    else:
        controls.request_pause()
        _print_message(
            options,
            experiment,
            f"{experiment.name} pauses after the current epochs; run `pause` again to continue",
        )


def _kill_trial(options: argparse.Namespace) -> None:
    """Stop one trial of a running search; the others continue."""
    experiment = _open_running(options.root, options.name)
    trials = {trial.number: trial for trial in experiment.trials()}
    trial = trials.get(options.trial)
    if trial is None or trial.state != "RUNNING":
        going = ", ".join(str(n) for n, each in trials.items() if each.state == "RUNNING")
        raise ConfigError(
            f"{experiment.name} has no unfinished trial {options.trial}; unfinished trials: "
            f"{going or 'none'}"
        )
    Controls(experiment).request_end(options.trial)
    _print_message(options, experiment, f"trial {options.trial} stops after its current epoch")


def _add(options: argparse.Namespace) -> None:
    """Add a config that a search tries next; settings that are left out are sampled."""
    from tune_encoder.space import parse_space

    experiment = open_experiment(options.root, options.name)
    content = experiment.read_search()["space"]
    params = dict(parse_assignment(text, "add") for text in options.settings)
    # Parsing it as a `start` config of the space checks it.
    space = parse_space({**content, "start": [params]}, "command line", Path())
    _check_not_tried(experiment, space)
    Controls(experiment).request_add(params)
    when = "next" if lock_holder(experiment.path) else "at the next resume"
    _print_message(options, experiment, f"{experiment.name} tries it {when}")


def _check_not_tried(experiment: Experiment, space: "SearchSpace") -> None:
    """Raise a `ConfigError` if a trial, which has not failed, has the config of `start`."""
    (config,) = space.start
    key = space.config_key(config)
    for trial in experiment.trials(fields=()):
        if key is not None and trial.state != "FAIL" and space.config_key(trial.settings) == key:
            raise ConfigError(
                f"command line: trial {trial.number} of {experiment.name} has this config; see "
                f"`{experiment.command('show')} {trial.number}`, or change a setting"
            )


def _open_running(root: Path, name: str) -> Experiment:
    experiment = open_experiment(root, name)
    if lock_holder(experiment.path) is None:
        raise ConfigError(
            f"{experiment.path}: is not running; resume it with `{experiment.command('resume')}`"
        )
    return experiment


def _print_message(options: argparse.Namespace, experiment: Experiment, words: str) -> None:
    print_view(options, {"experiment": experiment.name, "told": words}, [words])
