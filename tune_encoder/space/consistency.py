"""Checks of sections that are valid one by one but not together."""

import dataclasses

from tune_encoder.config import NETWORK, SIMILARITY, SchedulerSettings
from tune_encoder.errors import ConfigError
from tune_encoder.space.listening import listening_of
from tune_encoder.space.sampling import sample_configs
from tune_encoder.space.space import SearchSpace

N_SAMPLES = 200  # enough to sample any combination that is not very rare


def check_consistency(space: SearchSpace, where: str) -> None:
    """Raise a `ConfigError` if sections contradict each other, or the space has invalid configs."""
    _check_grace_period(space, where)
    _check_total_epochs(space, where)
    _check_until(space, where)
    _check_brackets(space, where)
    _check_searcher(space, where)
    _check_second_metric(space, where)
    _check_initial_model(space, where)
    _check_similarity(space, where)
    for settings in sample_configs(space, N_SAMPLES):
        space.config(settings, f"{where} can propose this")


def check_new_space(space: SearchSpace, where: str) -> None:
    """Raise a `ConfigError` for what no new search may have, but searches made before may."""
    if not space.parameters:
        raise ConfigError(
            f"{where}: space is empty, so all trials would be the same; list at least one setting, "
            "or use `tune-encoder train` for a single run"
        )
    if space.scheduler.fills_rungs:
        raise ConfigError(
            f"{where}, scheduler: name is {space.scheduler.name}, which only searches of earlier "
            "versions have; write promote, which has replaced it"
        )
    keys = [space.config_key(config) for config in space.start]
    for number, key in enumerate(keys, 1):
        if key is not None and (first := keys.index(key) + 1) < number:
            raise ConfigError(
                f"{where}, start: config {number} is the same as config {first}; write it once"
            )


def fit_to_budget(scheduler: SchedulerSettings, epochs: int) -> SchedulerSettings:
    """Return the scheduler with its grace period and brackets reduced to fit into `epochs`."""
    fitting = dataclasses.replace(scheduler, grace_period=min(scheduler.grace_period, epochs))
    return dataclasses.replace(
        fitting, brackets=min(scheduler.brackets, max_brackets(fitting, epochs))
    )


def max_brackets(scheduler: SchedulerSettings, epochs: int) -> int:
    """Return how many brackets of hyperband have their first rung within `epochs`."""
    brackets = 0
    while scheduler.first_rung(brackets) <= epochs:
        brackets += 1
    return brackets


def _check_grace_period(space: SearchSpace, where: str) -> None:
    if space.scheduler.grace_period > space.budget.epochs:
        raise ConfigError(
            f"{where}: scheduler.grace_period is {space.scheduler.grace_period}; it must be at "
            f"most budget.epochs ({space.budget.epochs})"
        )


def _check_total_epochs(space: SearchSpace, where: str) -> None:
    total, least = space.budget.total_epochs, space.scheduler.least_epochs(space.budget.epochs)
    if 0 < total < least:
        raise ConfigError(
            f"{where}: budget.total_epochs is {total}, but a single trial has at least {least} "
            f"epochs; give at least {least}"
        )


def _check_until(space: SearchSpace, where: str) -> None:
    if space.budget.until == "noise" and space.metric.second:
        raise ConfigError(
            f"{where}: budget.until is noise, but what a trial gains of two metrics is not known; "
            "leave out metric.second, or until"
        )


def _check_brackets(space: SearchSpace, where: str) -> None:
    scheduler, epochs = space.scheduler, space.budget.epochs
    most = max_brackets(scheduler, epochs)
    if scheduler.n_brackets > most:
        begins = scheduler.first_rung(scheduler.brackets - 1)
        raise ConfigError(
            f"{where}: scheduler.brackets is {scheduler.brackets}, so the last bracket would stop "
            f"nothing before epoch {begins:g} of {epochs}; it must be at most {most}"
        )


def _check_initial_model(space: SearchSpace, where: str) -> None:
    """Reject searched settings that would give another network than that of the initial model."""
    searched = [p.name for p in space.parameters if p.name in NETWORK]
    if searched and space.base.get("init_from"):
        raise ConfigError(
            f"{where}: base.init_from fixes the network, so {', '.join(searched)} cannot be "
            "searched; leave it out of space"
        )


def _check_second_metric(space: SearchSpace, where: str) -> None:
    """Reject what compares trials by one metric in a search with two, and the reverse."""
    searcher, scheduler, second = space.searcher.name, space.scheduler.name, space.metric.second
    if searcher == "nsga2" and not second:
        raise ConfigError(
            f"{where}: searcher.name is nsga2, which is for two metrics; set metric.second, or "
            "write another searcher"
        )
    if second and space.scheduler.stops_early:
        raise ConfigError(
            f"{where}: scheduler.name is {scheduler}, which compares trials by one metric, but "
            f"metric.second is {second}; write `scheduler: {{name: none}}`"
        )
    if second and searcher == "gp":
        raise ConfigError(
            f"{where}: searcher.name is gp, which has one metric, but metric.second is {second}; "
            "write nsga2, tpe or random"
        )


def _check_similarity(space: SearchSpace, where: str) -> None:
    """Reject a search whose trials would not be listened to, or by several processes."""
    listening, processes = listening_of(space), space.resources.processes_per_trial
    if listening is None:
        return
    if processes > 1:
        raise ConfigError(
            f"{where}: resources.processes is {processes}, but {SIMILARITY} is measured in one "
            "process; set it to 1, or leave out the metric and the constraints of that name"
        )
    if not listening.settings.every and not listening.rungs:
        raise ConfigError(
            f"{where}: similarity.every is 0, and the scheduler {space.scheduler.name} has no "
            f"rungs, so {SIMILARITY} of most epochs would be that of the first; write a number of "
            "epochs"
        )


def _check_searcher(space: SearchSpace, where: str) -> None:
    if space.searcher.name == "grid":
        try:
            space.grid()
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
