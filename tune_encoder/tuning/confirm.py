"""Confirming a result: the best configs of a search are retrained with new seeds at full budget.

A search finds the config that was best of many with one seed; part of that is luck. So the best
few configs are retrained with seeds that the search did not use, as another search within the
experiment's folder (`confirm/top3x3`), which can be stopped and resumed like any other. The scores
of the search itself do not count, since the configs were selected by them.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tune_encoder.config import (
    LOCAL_LAUNCH,
    BudgetSettings,
    LaunchSettings,
    SchedulerSettings,
    SearcherSettings,
    StorageSettings,
    ValidationSettings,
)
from tune_encoder.data.packing import pack_of_search
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.confirmation import (
    FOLDER,
    Configs,
    Confirmation,
    best_configs,
    new_seeds,
    summarize,
)
from tune_encoder.experiment.folder import Experiment
from tune_encoder.space import Parameter, SearchSpace, parse_space, space_to_content
from tune_encoder.system.formats import count_noun
from tune_encoder.tuning.start import resume_search, start_search

MAX_SEEDS, MAX_CONFIGS = 32, 100  # seeds as in budget.seeds


def confirm(
    experiment: Experiment,
    n_configs: int,
    n_seeds: int,
    announce: Callable[[str], None],
    launch: LaunchSettings = LOCAL_LAUNCH,
) -> Confirmation:
    """Retrain the best configs of a search with new seeds, or resume doing so.

    Args:
        experiment: The search; it may still be running.
        n_configs: How many of its best configs to confirm.
        n_seeds: Seeds of each config, at least 2.
        announce: Called with a description of what will be trained, after all checks.
        launch: Where it runs.

    Raises:
        ConfigError: if a number is out of range.
        StorageError: if the data has changed since the search.
        SearchFailed: if no trial gave a result, in the search or in the confirmation.
        Interrupted: on Ctrl-C or SIGTERM, with everything saved; the same call resumes.
    """
    _check_numbers(n_configs, n_seeds)
    best = best_configs(experiment, n_configs)
    space = confirmation_space(experiment, best, n_seeds)
    pack_of_search(experiment.data_source(), space.base_config())
    root = experiment.path / FOLDER
    name = confirmation_name(root, f"top{len(best)}x{n_seeds}", space)
    announce(
        f"confirming: {count_noun(len(best), 'config')} x {count_noun(n_seeds, 'further seed')}, "
        f"{count_noun(space.budget.epochs, 'epoch')} each, in {root / name}"
    )
    if (root / name).exists():
        return summarize(resume_search(root, name, launch=launch), best)
    data_dir = experiment.data_source().folder
    storage_settings = _confirmation_storage(experiment)
    return summarize(
        start_search(space, data_dir, root, name, launch=launch, storage_settings=storage_settings),
        best,
    )


def _confirmation_storage(experiment: Experiment) -> StorageSettings:
    """Store checkpoints where those of the search are, since nodes may not share its folder."""
    place = experiment.storage_settings().storage
    return StorageSettings(storage=f"{place}/{FOLDER}" if place else "")


def _check_numbers(n_configs: int, n_seeds: int) -> None:
    if not 1 <= n_configs <= MAX_CONFIGS:
        raise ConfigError(f"top is {n_configs}; it must be from 1 to {MAX_CONFIGS}")
    if not 2 <= n_seeds <= MAX_SEEDS:
        raise ConfigError(
            f"seeds is {n_seeds}; it must be from 2 to {MAX_SEEDS}, since one seed shows no spread"
        )


# --- what to train -------------------------------------------------------------------------------


def confirmation_space(experiment: Experiment, configs: Configs, n_seeds: int) -> SearchSpace:
    """Return the space that trains each config with each seed, without early stopping.

    Constraints and the second metric have chosen the configs; the first metric is confirmed.
    """
    space = experiment.space()
    seeds = new_seeds(experiment.trials(), n_seeds)
    start = [{**config, "seed": seed} for config in configs.values() for seed in seeds]
    parameters = [each for each in space.parameters if each.name != "seed"]
    confirming = replace(
        space,
        metric=replace(space.metric, second=None),
        constraints=(),
        budget=BudgetSettings(trials=len(start), epochs=space.budget.epochs),
        scheduler=SchedulerSettings(name="none"),
        searcher=SearcherSettings(name="random", closed_form=False),
        base={name: value for name, value in space.base.items() if name != "seed"},
        validation=ValidationSettings(voices=space.validation.folds),  # not to be chosen again
        parameters=[*parameters, Parameter("seed", "int", (seeds[0], seeds[-1]))],
        start=start,
    )
    return parse_space(space_to_content(confirming), f"{experiment.name}, confirm", experiment.path)


def confirmation_name(root: Path, name: str, space: SearchSpace) -> str:
    """Return the name of the confirming search, which may have started already.

    If the search has continued since, its best configs may differ; they then get a new folder.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    for each in names:
        if not (root / each).exists() or _is_of(Experiment(root / each), space):
            return each
    raise AssertionError("there is always a next name")


def _is_of(confirming: Experiment, space: SearchSpace) -> bool:
    """Whether a confirming search, perhaps of before there were folds, is of this space."""
    found = confirming.space()
    folds = ValidationSettings(voices=found.validation.folds)
    return replace(found, validation=folds) == space
