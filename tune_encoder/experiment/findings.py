"""Checks of a search's result before it is trusted.

Three questions: did the early epochs at which trials were stopped predict later ones, is the best
value of a setting at a bound of its range, and is the best trial better than the baselines.
"""

import dataclasses
import itertools
import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_encoder.config import SettingValue, TrainConfig
from tune_encoder.data.score_words import skill_name, strongest_baseline
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.experiment.trials import TrialRecord, best_trial
from tune_encoder.space import Parameter, SearchSpace
from tune_encoder.space.plan import halving_epochs
from tune_encoder.system.formats import count_noun, format_value

LOW_CORRELATION = 0.5  # below it an early rung predicts a late one poorly
MIN_TRIALS_TO_WARN = 6  # with fewer trials a low rank correlation is often chance
MIN_TRIALS_TO_RANK = 3  # with two trials it is always 1 or -1
AT_BOUND = 0.02  # of the range, as the distance from a bound
_SETTINGS = {field.name: field.metadata for field in dataclasses.fields(TrainConfig)}


@dataclass(frozen=True)
class RungCorrelation:
    """The rank correlation of two rungs, over the trials that reached both.

    Those trials were selected by their rank at the early rung, which makes the correlation lower
    than over all trials; so both counts are always reported.
    """

    early: int
    """Epoch of the early rung."""
    late: int
    correlation: float
    """Spearman's, from -1 to 1."""
    n_both: int
    """Trials that reached both."""
    n_early: int
    """Trials that reached the early rung."""

    @property
    def trials(self) -> str:
        """The number of trials, such as "7 of 16 trials"."""
        of_all = f" of {self.n_early}" if self.n_both < self.n_early else ""
        return f"{self.n_both}{of_all} trials"

    def __str__(self) -> str:
        return (
            f"rank correlation of epoch {self.early} with {self.late}: {self.correlation:.2f} over "
            f"{self.trials}"
        )


@dataclass(frozen=True)
class Findings:
    """Rung correlations, and warnings that say what to do."""

    rung_correlations: list[RungCorrelation]
    """Of each rung with the next, where enough trials reached both."""
    warnings: list[str]
    start: str
    """How the best network stands to the first config of `start`; empty if that was not tried."""


def assess_search(
    trials: Sequence[TrialRecord],
    space: SearchSpace,
    baselines: Mapping[str, Mapping[str, float]],
    voices: str | None,
) -> Findings:
    """Assess the reliability of a search by its trials.

    Args:
        trials: All trials of the search.
        space: What was searched.
        baselines: Scores on the validation split by name; each with its `skill`.
        voices: Whether its voices are known from train, new, or mixed; None if unknown.
    """
    rung_correlations = _rung_correlations(trials, space)
    warnings = [_low_correlation_warning(each) for each in rung_correlations if _is_low(each)]
    if (best := best_trial(list(trials))) is not None:
        searched = space.searched_settings(best.settings)
        warnings += [_at_bound_warning(each, searched) for each in space.parameters]
        if space.is_closed_form(best.settings):
            warnings.append(_no_network_warning(best, voices))
        else:
            warnings.append(_below_baseline_warning(best, baselines, voices))
    compared = compare_to_start(trials, space, voices)
    return Findings(rung_correlations, [warning for warning in warnings if warning], compared)


def _rung_correlations(trials: Sequence[TrialRecord], space: SearchSpace) -> list[RungCorrelation]:
    """The correlation of each rung with the next; none where no trial is stopped at a rung."""
    if not space.scheduler.stops_early:
        return []
    epochs = [*halving_epochs(space.scheduler, space.budget.epochs), space.budget.epochs]
    different = without_copies(trials, space)
    pairs = (rung_correlation(different, *pair) for pair in itertools.pairwise(epochs))
    return [found for found in pairs if found is not None]


def compare_to_start(trials: Sequence[TrialRecord], space: SearchSpace, voices: str | None) -> str:
    """Compare the best network with the first start config after the same number of epochs."""
    networks = [trial for trial in trials if not space.is_closed_form(trial.settings)]
    best = best_trial(networks)
    first = space.start[0].items() if space.start else ()
    start = next((t for t in networks if first and first <= t.settings.items() and t.rows), None)
    if best is None or start is None:
        return ""
    if best.number == start.number:
        return f"the best network is the first start config, trial {start.number}"
    epoch = min(trial.rows[-1]["epoch"] for trial in (best, start))
    skills = [
        next(row["val_skill"] for row in trial.rows if row["epoch"] == epoch)
        for trial in (best, start)
    ]
    return (
        f"{skill_name(voices)} after {count_noun(epoch, 'epoch')}: {skills[0]:.3f} of the best "
        f"network, trial {best.number}; {skills[1]:.3f} of the first start config, trial "
        f"{start.number}"
    )


# --- rungs ---------------------------------------------------------------------------------------


def without_copies(trials: Sequence[TrialRecord], space: SearchSpace) -> list[TrialRecord]:
    """Return the longest trial of each config; earlier versions trained some configs twice."""
    longest: dict[object, TrialRecord] = {}
    for trial in sorted(trials, key=lambda trial: -len(trial.rows)):
        longest.setdefault(space.config_key(trial.settings) or trial.number, trial)
    return sorted(longest.values(), key=lambda trial: trial.number)


def rung_correlation(
    trials: Sequence[TrialRecord], early: int, late: int
) -> RungCorrelation | None:
    """Correlate the objective at two epochs; None if trials are too few or all equal."""
    before, after = _objectives_at(trials, early), _objectives_at(trials, late)
    both = [number for number in after if number in before]
    if len(both) < MIN_TRIALS_TO_RANK:
        return None
    correlation = spearman([before[n] for n in both], [after[n] for n in both])
    if correlation is None:
        return None
    return RungCorrelation(early, late, correlation, len(both), len(before))


def _objectives_at(trials: Sequence[TrialRecord], epoch: int) -> dict[int, float]:
    """The objective at an epoch of each trial that reached it."""
    return {
        trial.number: objective(row)
        for trial in trials
        for row in trial.rows
        if row["epoch"] == epoch
    }


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the rank correlation of N pairs, from -1 to 1; None if one side is constant.

    Source: Spearman, The proof and measurement of association between two things, American
    Journal of Psychology 1904: Pearson's correlation of ranks, ties at their mean rank.
    """
    if len(set(a)) == 1 or len(set(b)) == 1:
        return None
    return statistics.correlation(_ranks(a), _ranks(b))


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1. SciPy has them too, but every search would wait for its import."""
    ordered = sorted(values)
    return [(bisect_left(ordered, x) + bisect_right(ordered, x) + 1) / 2 for x in values]


def _is_low(correlation: RungCorrelation) -> bool:
    return correlation.correlation < LOW_CORRELATION and correlation.n_both >= MIN_TRIALS_TO_WARN


def _low_correlation_warning(correlation: RungCorrelation) -> str:
    return (
        f"epoch {correlation.early} does not predict epoch {correlation.late} (rank correlation "
        f"{correlation.correlation:.2f} over {correlation.trials}); raise scheduler.grace_period"
    )


# --- the best trial ------------------------------------------------------------------------------


def _at_bound_warning(parameter: Parameter, searched: Mapping[str, SettingValue]) -> str:
    """Warn if the best value is at a bound that can be moved."""
    if not (end := bound_reached(parameter, searched)):
        return ""
    value, (low, high) = searched[parameter.name], parameter.values
    return (
        f"{parameter.name} of the best trial is {format_value(value)}, at the {end} bound of its "
        f"range {format_value(low)} to {format_value(high)}; widen it"
    )


def bound_reached(parameter: Parameter, searched: Mapping[str, SettingValue]) -> str:
    """Return "lower" or "upper" if a config's value is at that bound of its range, else "".

    A bound that is the limit of the setting itself does not count.

    Args:
        parameter: A searched setting.
        searched: The values of those that were searched in the config.
    """
    if parameter.kind == "choice" or parameter.name not in searched or parameter.name == "seed":
        return ""
    (low, high), limits = parameter.bounds, _SETTINGS[parameter.name]
    at = position_in_range(parameter, searched[parameter.name])
    if at <= AT_BOUND and low != limits["minimum"]:
        return "lower"
    return "upper" if at >= 1 - AT_BOUND and high != limits["maximum"] else ""


def position_in_range(parameter: Parameter, value: SettingValue) -> float:
    """Return the position of a value in its range, from 0 to 1; choices are evenly spaced."""
    if parameter.kind == "choice":
        return parameter.values.index(value) / max(1, len(parameter.values) - 1)
    assert isinstance(value, int | float)
    low, high = parameter.bounds
    if parameter.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _no_network_warning(best: TrialRecord, voices: str | None) -> str:
    assert best.best is not None
    return (
        f"no network of this search beats the closed-form encoder ({skill_name(voices)} "
        f"{best.best['val_skill']:.3f}); raise budget.epochs, widen the space or add voices"
    )


def _below_baseline_warning(
    best: TrialRecord, baselines: Mapping[str, Mapping[str, float]], voices: str | None
) -> str:
    """Warn if the best trial is not better than the best baseline."""
    assert best.best is not None
    name, enough = strongest_baseline(baselines)
    skill = best.best["val_skill"]
    if skill > enough:
        return ""
    mean = " and is below the mean voice" if skill < 0 and name != "mean" else ""
    return (
        f"the best trial ({skill_name(voices)} {skill:.3f}) does not beat {name} ({enough:.3f}), "
        f"which needs no training{mean}; raise budget.epochs, widen the space or add voices"
    )
