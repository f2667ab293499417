"""Confirming a result: the best configs of a search again, with further seeds, at full budget.

A search names the config that was best with one seed, among many; part of that is luck. So the
best few are trained again with seeds that the search did not use, as a search of its own within
the experiment's folder (`confirm/top3x3`), which is stopped and continued like any other. The
scores of the search itself do not count: the configs were chosen by them.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev, variance
from typing import Any

from tune_encoder.config import MetricSettings, SchedulerSettings, SearcherSettings
from tune_encoder.errors import ConfigError, SearchFailed
from tune_encoder.experiment import Experiment, TrialRecord, objective, ranked
from tune_encoder.search.run import resume_search, same_pack, start_search
from tune_encoder.space import Parameter, SearchSpace, parse_space, to_content

FOLDER = "confirm"
MOST_SEEDS, MOST_CONFIGS = 32, 100  # seeds as in budget.seeds
# Student's t at 0.975 by degrees of freedom; between two, the lower is the cautious one.
# Source: Abramowitz and Stegun, Handbook of Mathematical Functions, table 26.10.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 8: 2.306, 10: 2.228,
      15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980}  # fmt: skip


@dataclass(frozen=True)
class Confirmed:
    """One config over S seeds."""

    trial: int
    """Its number in the search."""
    settings: dict[str, Any]
    """Those that were searched."""
    seeds: list[int]
    """(S,) those that gave a result."""
    objectives: list[float]
    """(S,) of the best epoch of each; the least is best."""
    skills: list[float]
    """(S,) val_skill of the same epochs."""


@dataclass(frozen=True)
class Confirmation:
    """What further seeds say of the best configs of a search."""

    experiment: Experiment
    """Where they were trained."""
    metric: MetricSettings
    """What the objectives are; negated where the most is best."""
    configs: list[Confirmed]
    """The best mean objective first; without those of which no seed gave a result."""
    failed: list[int]
    """Configs of which none did, by their number in the search."""

    @property
    def n_within_noise(self) -> int:
        """How many, from the first, cannot be told from the first; 1 is a winner."""
        first, *others = [config.objectives for config in self.configs]
        near = [i for i, other in enumerate(others, start=2) if not is_lower(first, other)]
        return max(near, default=1)

    @property
    def winner(self) -> Confirmed | None:
        """The first, if it is better than each other by more than noise."""
        alone = len(self.configs) > 1 and self.n_within_noise == 1
        return self.configs[0] if alone else None


def confirm(
    experiment: Experiment, n_configs: int, n_seeds: int, announce: Callable[[str], None]
) -> Confirmation:
    """Train the best configs of a search again with further seeds, or go on doing so.

    Args:
        experiment: The search; it may still be running.
        n_configs: How many of its best to confirm.
        n_seeds: Seeds of each, at least 2.
        announce: Is told, once all is checked, what will be trained.

    Raises:
        ConfigError: if a number is out of range.
        StorageError: if the data has changed since the search.
        SearchFailed: if no trial gave a result, in the search or again.
        Interrupted: on Ctrl-C or SIGTERM, everything saved; the same call goes on.
    """
    _check_numbers(n_configs, n_seeds)
    best = best_configs(experiment, n_configs)
    space = confirming_space(experiment, best, n_seeds)
    same_pack(experiment, space)
    root = experiment.path / FOLDER
    name = folder_name(root, f"top{len(best)}x{n_seeds}", space)
    announce(
        f"confirming: {len(best)} configs x {n_seeds} further seeds, {space.budget.epochs} epochs "
        f"each, in {root / name}"
    )
    if (root / name).exists():
        return summary(resume_search(root, name), best)
    data_dir = Path(experiment.search()["data_dir"])
    return summary(start_search(space, data_dir, root, name), best)


def _check_numbers(n_configs: int, n_seeds: int) -> None:
    if not 1 <= n_configs <= MOST_CONFIGS:
        raise ConfigError(f"top is {n_configs}; it must be from 1 to {MOST_CONFIGS}")
    if not 2 <= n_seeds <= MOST_SEEDS:
        raise ConfigError(
            f"seeds is {n_seeds}; it must be from 2 to {MOST_SEEDS}, since one shows no spread"
        )


# --- what to train -------------------------------------------------------------------------------

Configs = dict[int, dict[str, Any]]  # the searched settings of a config, by its trial's number


def best_configs(experiment: Experiment, count: int) -> Configs:
    """Return the best `count` configs that differ in more than their seed, best first.

    Raises:
        SearchFailed: if the search has no result yet.
    """
    parameters = searched_space(experiment).parameters
    found: Configs = {}
    for trial in ranked(experiment.trials()):
        config = _searched(parameters, trial.settings)
        if config not in found.values() and len(found) < count:
            found[trial.number] = config
    if not found:
        raise SearchFailed(
            f"{experiment.name}: no trial has a result to confirm; go on with "
            f"`{experiment.command('resume')}`"
        )
    return found


def searched_space(experiment: Experiment) -> SearchSpace:
    """Return what an experiment searched."""
    where = f"{experiment.path / 'search.yaml'}, space"
    return parse_space(experiment.search()["space"], where, experiment.path)


def _searched(parameters: Iterable[Parameter], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that make a config what it is: searched under its conditions, no seed."""
    names = [p.name for p in parameters if p.applies(settings) and p.name != "seed"]
    return {name: settings[name] for name in names}


def confirming_space(experiment: Experiment, configs: Configs, n_seeds: int) -> SearchSpace:
    """Return the space that trains each config with each seed, to the end, and nothing else."""
    space = searched_space(experiment)
    seeds = new_seeds(experiment.trials(), n_seeds)
    start = [{**config, "seed": seed} for config in configs.values() for seed in seeds]
    parameters = [each for each in space.parameters if each.name != "seed"]
    confirming = replace(
        space,
        budget=replace(space.budget, trials=len(start), time="", target=None, seeds=1),
        scheduler=SchedulerSettings(name="none"),
        searcher=SearcherSettings(name="random"),
        base={name: value for name, value in space.base.items() if name != "seed"},
        parameters=[*parameters, Parameter("seed", "int", (seeds[0], seeds[-1]))],
        start=start,
    )
    return parse_space(to_content(confirming), f"{experiment.name}, confirm", experiment.path)


def new_seeds(trials: Sequence[TrialRecord], count: int) -> list[int]:
    """Return the lowest seeds that no trial was trained with, in order."""
    used = {trial.settings.get("seed") for trial in trials}
    unused = (seed for seed in itertools.count() if seed not in used)
    return list(itertools.islice(unused, count))


def folder_name(root: Path, name: str, space: SearchSpace) -> str:
    """Return the name of the confirming search, which may have begun already.

    A search that went on since may have other best configs: they get a folder of their own.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    for each in names:
        if not (root / each).exists() or searched_space(Experiment(root / each)) == space:
            return each
    raise AssertionError("there is always a next name")


# --- what came out -------------------------------------------------------------------------------


def summary(experiment: Experiment, configs: Configs) -> Confirmation:
    """Sum up what was trained in a confirming search.

    Raises:
        SearchFailed: if no trial gave a result.
    """
    trials = ranked(experiment.trials())
    confirmed = [_confirmed(number, config, trials) for number, config in configs.items()]
    scored = [each for each in confirmed if each.objectives]
    if not scored:
        raise SearchFailed(f"{experiment.path}: no config gave a result again")
    scored.sort(key=lambda each: fmean(each.objectives))
    failed = [each.trial for each in confirmed if not each.objectives]
    return Confirmation(experiment, searched_space(experiment).metric, scored, failed)


def _confirmed(number: int, config: dict[str, Any], trials: Sequence[TrialRecord]) -> Confirmed:
    best = {
        int(trial.settings["seed"]): trial.best
        for trial in trials
        if trial.best and config.items() <= trial.settings.items()
    }
    seeds = sorted(best)
    objectives = [objective(best[seed]) for seed in seeds]
    return Confirmed(
        number, config, seeds, objectives, [float(best[seed]["val_skill"]) for seed in seeds]
    )


def is_lower(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether the mean of `a` is below that of `b` by more than noise; needs two values of each.

    Welch's t-test at 95 %, two-sided. It does not pool the two variances, because one config may
    be steadier than another: where their noise differed by ten, pooling named a winner among
    equals in up to 14 % of simulated cases, this in no more than 5 %.

    Source: Welch, The generalization of "Student's" problem when several different population
    variances are involved, Biometrika 1947, with Satterthwaite's degrees of freedom.
    """
    if min(len(a), len(b)) < 2:
        return False
    squares = [variance(each) / len(each) for each in (a, b)]
    difference, total = fmean(b) - fmean(a), sum(squares)
    if total == 0:
        return difference > 0
    parts = zip(squares, (a, b), strict=True)
    freedom = total**2 / sum(square**2 / (len(each) - 1) for square, each in parts)
    return difference > _t(freedom) * math.sqrt(total)


def _t(freedom: float) -> float:
    # The least is 1, up to rounding: both of two values, one of them without any noise.
    return _T[max((known for known in _T if known <= freedom), default=1)]


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds; None of a single one."""
    return stdev(values) if len(values) > 1 else None
