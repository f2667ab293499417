"""What a person asks of a search, checked first; each function returns what it did, in words."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tune_encoder.config import parse_assignment
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import Experiment
from tune_encoder.space import SearchSpace, parse_space
from tune_encoder.system.lock import lock_holder

_WHERE = "command line"


def stop_search(experiment: Experiment) -> str:
    """Stop a running search after its current epochs; everything is saved.

    Raises:
        ConfigError: if it is not running.
    """
    check_running(experiment)
    Controls(experiment).request_stop()
    return f"{experiment.name} stops after the current epochs"


def pause_search(experiment: Experiment) -> str:
    """Let a running search pause, if it has not been asked to yet.

    Raises:
        ConfigError: if it is not running.
    """
    check_running(experiment)
    Controls(experiment).request_pause()
    return f"{experiment.name} pauses after the current epochs"


def continue_search(experiment: Experiment) -> str:
    """Let a paused search continue.

    Raises:
        ConfigError: if it is not running.
    """
    check_running(experiment)
    Controls(experiment).clear()
    return f"{experiment.name} continues"


def kill_trial(experiment: Experiment, number: int) -> str:
    """End one trial of a running search; the others continue.

    Raises:
        ConfigError: if the search is not running, or it has no such trial, or the trial has ended.
    """
    check_running(experiment)
    trials = {trial.number: trial for trial in experiment.trials(fields=())}
    trial = trials.get(number)
    if trial is None or trial.state != "RUNNING":
        going = ", ".join(str(n) for n, each in trials.items() if each.state == "RUNNING")
        ended = "" if trial is None else ", as it has ended already"
        raise ConfigError(
            f"{experiment.name} has no unfinished trial {number}{ended}; unfinished trials: "
            f"{going or 'none'}"
        )
    Controls(experiment).request_end(number)
    return f"trial {number} stops after its current epoch"


def add_config(experiment: Experiment, settings: Iterable[str]) -> str:
    """Add a config that a search tries next; settings that are left out are sampled.

    Args:
        experiment: The search; one that does not run tries it at its next resume.
        settings: Values of searched settings, as `name=value`, where the value is YAML.

    Raises:
        ConfigError: if a value is not of the space, or a trial that has not failed has them all.
    """
    return add_settings(experiment, dict(parse_assignment(text, "add") for text in settings))


def add_settings(experiment: Experiment, settings: Mapping[str, object]) -> str:
    """Add a config as `add_config` does, from values instead of text."""
    content, params = experiment.read_search()["space"], dict(settings)
    # Parsing it as a `start` config of the space checks it.
    space = parse_space({**content, "start": [params]}, _WHERE, Path())
    _check_not_tried(experiment, space)
    Controls(experiment).request_add(params)
    when = "next" if lock_holder(experiment.path) else "at the next resume"
    return f"{experiment.name} tries it {when}"


def check_running(experiment: Experiment) -> None:
    """Raise a `ConfigError` if no process runs the search."""
    if lock_holder(experiment.path) is None:
        raise ConfigError(
            f"{experiment.path}: is not running; resume it with `{experiment.command('resume')}`"
        )


def _check_not_tried(experiment: Experiment, space: SearchSpace) -> None:
    """Raise a `ConfigError` if a trial, which has not failed, has the config of `start`."""
    (config,) = space.start
    key = space.config_key(config)
    for trial in experiment.trials(fields=()):
        if key is not None and trial.state != "FAIL" and space.config_key(trial.settings) == key:
            raise ConfigError(
                f"{_WHERE}: trial {trial.number} of {experiment.name} has this config; see "
                f"`{experiment.command('show')} {trial.number}`, or change a setting"
            )
