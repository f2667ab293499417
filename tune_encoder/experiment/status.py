"""The status of a search: as plain values, and as text lines.

A running search and the command `status` print the same, since both read only the record's trials.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from tune_encoder.config import SettingValue
from tune_encoder.data.score_words import compare_skills, skill_name, strongest_baseline
from tune_encoder.experiment.epoch_row import EpochRow, objective
from tune_encoder.experiment.front import FrontPoint, describe_front, pareto_front
from tune_encoder.experiment.running import RunningTrial, running_lines, running_trials
from tune_encoder.experiment.trials import (
    TrialRecord,
    best_trial,
    counts_as_trial,
    has_refused_all,
    improvements,
)
from tune_encoder.space import SearchSpace
from tune_encoder.system.formats import count_noun, format_clock, format_short
from tune_encoder.system.lock import Process

WIDTH = 80  # columns of every line
# Fields of a row that are read here, besides the metric.
FIELDS = ("val_skill", "val_skill_se", "seconds", "order", "recorded_at")
HISTORY_POINTS = 40
_BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
FINISHED, STOPPED, FAILED = "finished", "stopped early", "failed"
ENDED = (FINISHED, STOPPED, FAILED)
WAITING = "waiting at a rung"
UNFINISHED = "unfinished"
REFUSED = "refused"
_STATES = dict(zip(("COMPLETE", "PRUNED", "FAIL"), ENDED, strict=True))
_VERDICTS = {"beats": "beats", "equals": "equals", "does not beat": "below"}
COUNTED = (*ENDED, REFUSED, "running", WAITING, UNFINISHED)
"""What `trial_status` says of a trial that has begun."""
_SAID_BY_SKILL = ("val_loss", "val_skill")  # metrics for which the skill alone is shown


class BestEpoch(TypedDict):
    """The best epoch of all trials."""

    trial: int
    """The trial's number."""
    epoch: int
    metric: str
    """Name of the metric."""
    value: float
    """Value of the metric."""
    skill: float
    skill_se: float | None
    """Standard error of the skill over voices; None if it was not recorded."""
    voices: str | None
    """Whether the voices of the score are known from train, new, or mixed; None if unknown."""
    settings: dict[str, SettingValue]
    """The searched settings of the trial."""


class Baseline(TypedDict):
    """The strongest of the baselines, which need no training."""

    name: str
    skill: float
    """On what the trials are scored on."""


class SearchTime(TypedDict):
    """Times of a search, in seconds."""

    elapsed_s: float | None
    """Since the launch; None if the search is not running."""
    left_s: float | None
    """Estimated; None if unknown."""
    training_s: float
    """Total training time so far."""


class SearchStatus(TypedDict):
    """The status of a search, as values for JSON."""

    trials: dict[str, int]
    """Number of trials by state, such as `stopped_early`."""
    trials_ended: int
    trials_budget: int | None
    """None if it follows from `epochs_budget`."""
    first_trial: int
    """Number of its first trial: a fork counts on from the trials that seeded it."""
    epochs: int
    """Finished epochs of all trials."""
    epochs_budget: int | None
    """Limit on these; None without one."""
    epochs_saved: int
    """Epochs saved by early stopping."""
    constraints_broken: int | None
    """Trials that break the constraints, also those that were refused; None if there are none."""
    voices: str | None
    """Whether the validation voices are known from train, new, or mixed; None if unknown."""
    best: BestEpoch | None
    baseline: Baseline | None
    """The strongest one, to compare the best with; None if it is not known."""
    running: list[RunningTrial]
    """The trials that run now."""
    front: list[FrontPoint] | None
    """With two metrics, the trials that no other beats in both; else None."""
    history: list[float]
    """Skill of the best epoch so far, from the first result to the last epoch of all trials."""
    time: SearchTime


@dataclass(frozen=True)
class Launch:
    """The process that runs the search now."""

    elapsed_s: float
    """Seconds since it began."""
    ended: int
    """Trials that ended since then, to estimate the time left."""
    epochs: int
    """Epochs that were finished since then."""


def trial_status(trial: TrialRecord, is_running: bool = True) -> str:
    """Return the status of a trial in a word or two.

    Args:
        trial: The trial.
        is_running: Whether the search is running; if not, no trial is.
    """
    if trial.state == "RUNNING":
        return WAITING if trial.paused else "running" if is_running else UNFINISHED
    if trial.refused:
        return REFUSED
    return _STATES.get(trial.state, "not begun")


def has_ended(trial: TrialRecord) -> bool:
    """Whether a trial has ended for good."""
    return trial.state in _STATES


def is_over(space: SearchSpace, trials: list[TrialRecord]) -> bool:
    """Whether the budget is used up or its target reached, so that nothing is left to do."""
    drawn = [trial for trial in trials if trial.state != "WAITING"]
    all_tried = space.n_configs is not None and (
        len({space.config_key(trial.settings) for trial in drawn} - {None}) >= space.n_configs
    )
    used_up = sum(map(counts_as_trial, drawn)) >= space.most_trials or has_refused_all(trials)
    used_up = (used_up or all_tried) and all(map(has_ended, drawn))
    n_epochs = sum(len(trial.rows) for trial in trials)
    return used_up or 0 < space.budget.total_epochs <= n_epochs or _met_target(space, trials)


def _met_target(space: SearchSpace, trials: list[TrialRecord]) -> bool:
    target = space.budget.target
    best = best_of(space, trials, None)
    if target is None or best is None:
        return False
    return space.metric.sign * (best["value"] - target) <= 0


def search_status(
    space: SearchSpace,
    trials: list[TrialRecord],
    launch: Launch | None,
    voices: str | None,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> SearchStatus:
    """Return the status of a search as values for JSON.

    Args:
        space: The search space.
        trials: All its trials.
        launch: The process that runs it, if any.
        voices: Whether the validation voices are known, new, or mixed; None if unknown.
        baselines: Scores of the baselines by name; None if unknown.
    """
    counts = Counter(trial_status(trial, is_running=launch is not None) for trial in trials)
    ended = sum(counts[word] for word in ENDED)
    broken = sum(not trial.keeps_constraints for trial in trials)
    return {
        "trials": {word.replace(" ", "_"): counts[word] for word in COUNTED},
        "trials_ended": ended,
        "trials_budget": space.budget.trials or None,
        "first_trial": min((trial.number for trial in trials), default=0),
        "epochs": sum(len(trial.rows) for trial in trials),
        "epochs_budget": space.budget.total_epochs or None,
        "epochs_saved": saved_epochs(space, trials),
        "constraints_broken": broken if space.constraints else None,
        "voices": voices,
        "best": best_of(space, trials, voices),
        "baseline": _strongest(baselines) if baselines else None,
        "running": running_trials(space, trials) if launch is not None else [],
        "front": pareto_front(space, trials) if space.metric.second else None,
        "history": _history(trials),
        "time": _time(space, trials, ended, launch),
    }


def _strongest(baselines: Mapping[str, Mapping[str, float]]) -> Baseline:
    name, skill = strongest_baseline(baselines)
    return {"name": name, "skill": skill}


def saved_epochs(space: SearchSpace, trials: Iterable[TrialRecord]) -> int:
    """Return how many epochs were saved by stopping trials early."""
    pruned = (trial for trial in trials if trial.state == "PRUNED" and not trial.refused)
    return sum(space.budget.epochs - len(trial.rows) for trial in pruned)


def _history(trials: list[TrialRecord]) -> list[float]:
    """Skill of the best epoch so far, at up to `HISTORY_POINTS` epochs in order of recording.

    They are evenly spaced from the first result to the last epoch of all trials.
    """
    best = improvements(trials)
    if not best:
        return []
    orders = [each.order for each in best]
    last = max(trial.rows[-1]["order"] for trial in trials if trial.rows)
    n = last - orders[0] + 1
    n_points = min(HISTORY_POINTS, n)
    at = (last - i * n // n_points for i in reversed(range(n_points)))
    return [best[bisect_right(orders, order) - 1].skill for order in at]


def _time(
    space: SearchSpace, trials: list[TrialRecord], ended: int, launch: Launch | None
) -> SearchTime:
    """Seconds of the launch, estimated seconds left, and seconds of all training."""
    return {
        "elapsed_s": launch.elapsed_s if launch else None,
        "left_s": _seconds_left(space, trials, ended, launch) if launch is not None else None,
        "training_s": sum(trial.seconds for trial in trials),
    }


def _seconds_left(
    space: SearchSpace, trials: list[TrialRecord], ended: int, launch: Launch
) -> float | None:
    """Estimate by the limit that is reached first, of trials and of epochs; None if unknown."""
    budget = space.budget
    n_epochs = sum(len(trial.rows) for trial in trials)
    limits = [(budget.trials, ended, launch.ended), (budget.total_epochs, n_epochs, launch.epochs)]
    return min(
        (
            launch.elapsed_s / since * (limit - done)
            for limit, done, since in limits
            if since and limit > done
        ),
        default=None,
    )


def best_of(space: SearchSpace, trials: list[TrialRecord], voices: str | None) -> BestEpoch | None:
    """Return the best trial's best epoch with its scores and searched settings, if there is one."""
    trial = best_trial(trials)
    if trial is None or trial.best is None:
        return None
    return {
        "trial": trial.number,
        "epoch": trial.best["epoch"],
        "metric": space.metric.name,
        "value": metric_value(space, trial.best),
        "skill": trial.best["val_skill"],
        "skill_se": trial.best.get("val_skill_se"),
        "voices": voices,
        "settings": space.searched_settings(trial.settings),
    }


def metric_value(space: SearchSpace, row: EpochRow) -> float:
    """Return the metric of an epoch; the objective may be its negative."""
    return space.metric.sign * objective(row)


def status_lines(status: SearchStatus, unicode: bool) -> list[str]:
    """Format the status in lines of at most 80 columns, the last ones of the running trials.

    Args:
        status: What `search_status` returns.
        unicode: Whether the terminal can show a sparkline.
    """
    lines = [
        f"trials  {format_counts(status)}",
        f"epochs  {status['epochs']}{_of(status['epochs_budget'])} done, "
        f"{status['epochs_saved']} saved by early stopping",
        *_constraint_lines(status),
        f"best    {format_best(status['best'], WIDTH - 8)}",
        *_baseline_lines(status),
        *([] if status["front"] is None else [f"front   {describe_front(status['front'])}"]),
        f"time    {format_time(status['time'])}",
    ]
    history = status["history"]
    if unicode and len(history) > 1:
        values = f"{history[0]:.3f} to {history[-1]:.3f}"
        words = f" {skill_name(status['voices'])} {values}"
        lines.insert(-1, f"history {sparkline(history[len(words) + 8 - WIDTH :])}{words}")
    return lines + running_lines(status["running"], WIDTH)


def _baseline_lines(status: SearchStatus) -> list[str]:
    """Say how the best stands to the strongest baseline."""
    baseline, best = status["baseline"], status["best"]
    if baseline is None:
        return []
    verdict = "to beat"
    if best is not None:
        verdict = _VERDICTS[compare_skills(best["skill"], baseline["skill"])]
    return [f"{verdict:7} {baseline['skill']:.3f}, the strongest baseline ({baseline['name']})"]


def _constraint_lines(status: SearchStatus) -> list[str]:
    broken, refused = status["constraints_broken"], status["trials"][REFUSED]
    if broken is None:
        return []
    words = f"broken by {count_noun(broken, 'trial')}" if broken else "kept by all trials"
    unseen = f", {refused} of them not trained" if refused else ""
    return [f"limits  {words}{unseen}"]


def sparkline(values: Sequence[float]) -> str:
    """Draw values as block characters, scaled from the minimum to the maximum."""
    low, high = min(values), max(values)
    steps = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[round(steps * (value - low) / (high - low)) if high > low else 0]
        for value in values
    )


def format_counts(status: SearchStatus) -> str:
    """Format the number of trials in each state."""
    counts = status["trials"].items()
    parts = [f"{count} {name.replace('_', ' ')}" for name, count in counts if count]
    first = f", numbered from {status['first_trial']}" if status["first_trial"] else ""
    return f"{', '.join(parts) or 'none yet'}{_of(status['trials_budget'])}{first}"


def _of(budget: int | None) -> str:
    return "" if budget is None else f" of {budget}"


def format_time(time: SearchTime) -> str:
    """Format the elapsed and remaining time of a launch, else the training time of all trials."""
    if time["elapsed_s"] is None:
        return f"{format_clock(time['training_s'])} of training"
    left = f", about {format_clock(time['left_s'])} left" if time["left_s"] is not None else ""
    return f"{format_clock(time['elapsed_s'])}{left}"


def format_best(best: BestEpoch | None, width: int) -> str:
    """Format the best score and as many of its settings as fit."""
    if best is None:
        return "none yet"
    start = f"{format_score(best)}, trial {best['trial']} epoch {best['epoch']}: "
    settings = [f"{name} {format_short(value)}" for name, value in best["settings"].items()]
    return start + _join_to_width(settings, width - len(start))


def _join_to_width(parts: list[str], width: int) -> str:
    """Join as many as fit, never cutting one: a cut number would be misread."""
    text = ", ".join(parts)
    while parts and len(text) > width:
        parts = parts[:-1]
        text = ", ".join([*parts, "..."])
    return text


def format_score(best: BestEpoch) -> str:
    """Format the skill, after the search's metric if that is another one."""
    skill = f"{skill_name(best['voices'])} {format_skill(best['skill'], best['skill_se'])}"
    if best["metric"] in _SAID_BY_SKILL:
        return skill
    return f"{best['metric']} {best['value']:.3f}, {skill}"


def format_skill(skill: float, error: float | None) -> str:
    """Format a skill with its standard error over voices, if that is known."""
    return f"{skill:.3f}" + (f" +- {error:.3f}" if error is not None else "")


def format_trial(
    trial: TrialRecord, epochs: int, voices: str | None, is_running: bool = True
) -> str:
    """Format the status of one trial; `voices` as for `search_status`."""
    words = f"trial {trial.number} {trial_status(trial, is_running)}"
    why = f": {trial.reason}" if trial.reason else ""
    if trial.best is None:
        return f"{words}{why}"
    skill = format_skill(trial.best["val_skill"], trial.best.get("val_skill_se"))
    return (
        f"{words} after {len(trial.rows)} of {count_noun(epochs, 'epoch')}, "
        f"{skill_name(voices)} {skill}{why}"
    )


def format_state(state: str, process: Process | None, host: bool = False) -> str:
    """Format the state of a search or run, and the process that runs it, with its host if asked."""
    if process is None or process["pid"] is None:
        return state
    where = f" on {process['host']}" if host else ""
    return f"{state}, pid {process['pid']}{where}"
