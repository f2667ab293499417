"""Confirmation: a search's best configs, compared over further seeds.

`tuning.confirm` trains them. A confirming search is in the experiment's folder `confirm/`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tune_encoder.config import MetricSettings, SettingValue
from tune_encoder.errors import SearchFailed
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.status import has_ended
from tune_encoder.experiment.trials import TrialRecord, rank_trials

FOLDER = "confirm"  # within the experiment
_SIGNIFICANCE = 0.05  # two-sided


@dataclass(frozen=True)
class ConfirmedConfig:
    """The results of one config over S seeds."""

    trial: int
    """Its number in the search."""
    settings: dict[str, SettingValue]
    """The searched settings."""
    seeds: list[int]
    """(S,) seeds with a result."""
    objectives: list[float]
    """(S,) objective of the best epoch of each seed; lower is better."""
    skills: list[float]
    """(S,) val_skill of the same epochs."""


@dataclass(frozen=True)
class Confirmation:
    """The best configs of a search, compared over further seeds."""

    experiment: Experiment
    """The confirming search."""
    metric: MetricSettings
    """The metric of the objectives, which are negated if higher is better."""
    configs: list[ConfirmedConfig]
    """Configs with a result, the best mean objective first."""
    failed: list[int]
    """Configs without a result, by their trial's number in the search."""

    @property
    def n_tied(self) -> int:
        """How many top configs are not significantly different from the first; 1 is a winner."""
        first, *others = [config.objectives for config in self.configs]
        near = [
            i for i, other in enumerate(others, start=2) if not significantly_lower(first, other)
        ]
        return max(near, default=1)

    @property
    def winner(self) -> ConfirmedConfig | None:
        """The first config, if it is significantly better than all others."""
        alone = len(self.configs) > 1 and self.n_tied == 1
        return self.configs[0] if alone else None


# --- what is confirmed ---------------------------------------------------------------------------

Configs = dict[int, dict[str, SettingValue]]
"""The searched settings of a config, by its trial's number."""


def best_configs(experiment: Experiment, count: int) -> Configs:
    """Return the best `count` configs that differ in more than their seed, best first.

    The closed-form encoder is not among them: it has no seed.

    Raises:
        SearchFailed: if the search has no result yet.
    """
    space = experiment.space()
    found: Configs = {}
    for trial in rank_trials(experiment.trials()):
        config = _without_seed(space.searched_settings(trial.settings))
        if space.is_closed_form(trial.settings):
            continue
        if config not in found.values() and len(found) < count:
            found[trial.number] = config
    if not found:
        raise SearchFailed(
            f"{experiment.name}: no trial has a result to confirm; continue with "
            f"`{experiment.command('resume')}`"
        )
    return found


def _without_seed(settings: dict[str, SettingValue]) -> dict[str, SettingValue]:
    """The settings that make a config what it is."""
    return {name: value for name, value in settings.items() if name != "seed"}


def new_seeds(trials: Sequence[TrialRecord], count: int) -> list[int]:
    """Return the lowest seeds that no trial has used, in order."""
    used = {trial.settings.get("seed") for trial in trials}
    unused = (seed for seed in itertools.count() if seed not in used)
    return list(itertools.islice(unused, count))


# --- what came out -------------------------------------------------------------------------------


def newest_confirmation(experiment: Experiment) -> Confirmation | None:
    """Return the result of the newest finished confirming search, or None if there is none.

    Raises:
        SearchFailed: if no config has a result.
        StorageError: if its record cannot be read.
    """
    found = (Experiment(path.parent) for path in experiment.path.glob(f"{FOLDER}/*/search.yaml"))
    ended = {each: _ended_at(each) for each in found}
    over = [each for each, at in ended.items() if at is not None]
    if not over:
        return None
    newest = max(over, key=lambda each: ended[each] or 0.0)
    return summarize(newest, _configs_of(newest, experiment))


def _ended_at(confirming: Experiment) -> float | None:
    """When the last of its trials ended, or None if some have not ended."""
    trials = confirming.trials(fields=())
    ended = [trial.ended_at or 0.0 for trial in trials if has_ended(trial)]
    return max(ended) if 0 < len(ended) >= confirming.space().budget.trials else None


def _configs_of(confirming: Experiment, experiment: Experiment) -> Configs:
    """The configs that were trained again, by the number of the trial they come from."""
    wanted: list[dict[str, SettingValue]] = []
    for start in confirming.space().start:
        config = _without_seed(start)
        if config not in wanted:
            wanted.append(config)
    trials = rank_trials(experiment.trials())
    owners = {
        next((t.number for t in trials if config.items() <= t.settings.items()), None): config
        for config in wanted
    }
    return {number: config for number, config in owners.items() if number is not None}


def summarize(experiment: Experiment, configs: Configs) -> Confirmation:
    """Summarise a confirming search.

    Raises:
        SearchFailed: if no trial has a result.
    """
    trials = rank_trials(experiment.trials())
    confirmed = [_confirmed_config(number, config, trials) for number, config in configs.items()]
    scored = [each for each in confirmed if each.objectives]
    if not scored:
        raise SearchFailed(f"{experiment.path}: no config gave a result again")
    scored.sort(key=lambda each: fmean(each.objectives))
    failed = [each.trial for each in confirmed if not each.objectives]
    return Confirmation(experiment, experiment.space().metric, scored, failed)


def _confirmed_config(
    number: int, config: dict[str, SettingValue], trials: Sequence[TrialRecord]
) -> ConfirmedConfig:
    best = {
        trial.seed: trial.best
        for trial in trials
        if trial.best and config.items() <= trial.settings.items()
    }
    seeds = sorted(best)
    objectives = [objective(best[seed]) for seed in seeds]
    return ConfirmedConfig(
        number, config, seeds, objectives, [float(best[seed]["val_skill"]) for seed in seeds]
    )


def significantly_lower(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether the mean of `a` is significantly below that of `b`; needs two values of each.

    Welch's two-sided t-test at 95 %. It does not pool the variances, because one config may vary
    less than another: in simulations with noise of a ratio of ten, pooling found a false winner
    in up to 14 % of cases, Welch's test in at most 5 %.

    Source: Welch, The generalization of "Student's" problem when several different population
    variances are involved, Biometrika 1947, with Satterthwaite's degrees of freedom.
    """
    if min(len(a), len(b)) < 2:
        return False
    from scipy import stats  # takes half a second to load

    deviations = stdev(a), stdev(b)
    if not any(deviations):
        return fmean(a) < fmean(b)
    test = stats.ttest_ind_from_stats(
        fmean(a), deviations[0], len(a), fmean(b), deviations[1], len(b),
        equal_var=False, alternative="less",
    )  # fmt: skip
    return bool(test.pvalue < _SIGNIFICANCE / 2)


def standard_deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds; None for a single one."""
    return stdev(values) if len(values) > 1 else None


def verdict(confirmation: Confirmation) -> str:
    """Name the winner, or say that there is none."""
    if confirmation.winner is not None:
        return (
            f"winner: trial {confirmation.winner.trial}, significantly better than the others "
            "(Welch's t-test, 95 %)"
        )
    if len(confirmation.configs) == 1:
        return "only one config, nothing to compare"
    return f"no winner: the top {confirmation.n_tied} are not significantly different"
