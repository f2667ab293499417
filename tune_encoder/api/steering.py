"""Steering a running search: stop it, pause it, end a trial, add a config.

Each function tells the search, which follows after the current epochs, and returns what it said.
"""

from collections.abc import Mapping
from pathlib import Path

from tune_encoder.errors import ConfigError
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import Experiment
from tune_encoder.space import SearchSpace, parse_space
from tune_encoder.system.lock import lock_holder


def stop(experiment: Experiment) -> str:
    """Stop a running search after its current epochs; everything is saved.

    Raises:
        ConfigError: if it is not running.
    """
    _check_running(experiment)
    Controls(experiment).request_stop()
    return f"{experiment.name} stops after the current epochs"


def pause(experiment: Experiment) -> str:
    """Pause a running search, or continue it if it is paused.

    Raises:
        ConfigError: if it is not running.
    """
    _check_running(experiment)
    controls = Controls(experiment)
    if controls.pause_requested():
        controls.clear()
        return f"{experiment.name} continues"
    controls.request_pause()
    return f"{experiment.name} pauses after the current epochs; run `pause` again to continue"


def kill_trial(experiment: Experiment, number: int) -> str:
    """Stop one trial of a running search; the others continue.

    Raises:
        ConfigError: if the search is not running, or has no such unfinished trial.
    """
    _check_running(experiment)
    trials = {trial.number: trial for trial in experiment.trials()}
    trial = trials.get(number)
    if trial is None or trial.state != "RUNNING":
        going = ", ".join(str(n) for n, each in trials.items() if each.state == "RUNNING")
        raise ConfigError(
            f"{experiment.name} has no unfinished trial {number}; unfinished trials: "
            f"{going or 'none'}"
        )
    Controls(experiment).request_end(number)
    return f"trial {number} stops after its current epoch"


def add(experiment: Experiment, settings: Mapping[str, object]) -> str:
    """Add a config that a search tries next; settings that are left out are sampled.

    Raises:
        ConfigError: if a setting is not searched or out of its range, or a trial has the config.
    """
    params = dict(settings)
    content = experiment.read_search()["space"]
    # Parsing it as a `start` config of the space checks it.
    space = parse_space({**content, "start": [params]}, "command line", Path())
    _check_not_tried(experiment, space)
    Controls(experiment).request_add(params)
    when = "next" if lock_holder(experiment.path) else "at the next resume"
    return f"{experiment.name} tries it {when}"


def _check_not_tried(experiment: Experiment, space: SearchSpace) -> None:
    """Raise a `ConfigError` if a trial, which has not failed, has the config of `start`."""
    (config,) = space.start
    key = space.config_key(config)
    for trial in experiment.trials(fields=()):
        if key is not None and trial.state != "FAIL" and space.config_key(trial.settings) == key:
            raise ConfigError(
                f"command line: trial {trial.number} of {experiment.name} has this config; see "
                f"`{experiment.command('show')} {trial.number}`, or change a setting"
            )


def _check_running(experiment: Experiment) -> None:
    if lock_holder(experiment.path) is None:
        raise ConfigError(
            f"{experiment.path}: is not running; resume it with `{experiment.command('resume')}`"
        )
