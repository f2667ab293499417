"""Scores of the winner and the baselines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tune_encoder.data.fold_scores import interval_95
from tune_encoder.data.pack import PackedData
from tune_encoder.experiment.epoch_row import validation_scores
from tune_encoder.report.drawing import BLACK, GREY, ORANGE, Canvas, Tooltip
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, table

if TYPE_CHECKING:
    from tune_encoder.report.winner import Winner

_BAR_HEIGHT = 30
_LABELS = {
    "mean": "mean voice",
    "ridge": "ridge",
    "statistics": "statistics",
    "nearest": "nearest voice",
    "model": "the winner",
}


_BASELINES_EXPLAINED = (
    " Ridge is a ridge regression from the mean and standard deviation of each mel band, "
    "statistics the better of a ridge and a kernel regression from more statistics; the nearest "
    "voice is the training voice closest to the winner's prediction."
)


class Score(NamedTuple):
    """One bar."""

    name: str
    skill: float
    ttl: float | None
    dp: float | None
    interval: tuple[float, float] | None = None


def scores(facts: Facts, data: PackedData | None, winner: "Winner | None") -> list[Score]:
    """Return scores of the baselines and the winner, on test if it could be evaluated."""
    if winner is not None:
        found = winner.evaluation.scores
        order = [name for name in _LABELS if name in found]
        interval = winner.evaluation.interval
        return [_score(name, found[name], interval if name == "model" else None) for name in order]
    known = [_score(name, each) for name, each in baselines(facts, data).items()]
    best = facts.best
    if best is not None and best.best is not None:
        found_last = validation_scores(best.best)
        known.append(_score("model", found_last, _interval_over_folds(facts, found_last)))
    return known


def baselines(facts: Facts, data: PackedData | None) -> dict[str, dict[str, float]]:
    """Return the baselines on what the trials were scored on; none if that is not known."""
    return facts.content.get("baselines") or (data.baselines if data else {})


def _interval_over_folds(facts: Facts, found: Mapping[str, float]) -> tuple[float, float] | None:
    folds = facts.space.validation.folds
    return interval_95(found["skill"], found["skill_se"], folds) if folds > 1 else None


def _score(
    name: str, found: Mapping[str, float], interval: tuple[float, float] | None = None
) -> Score:
    return Score(
        _LABELS[name], found["skill"], found.get("skill_ttl"), found.get("skill_dp"), interval
    )


def score_bars(found: list[Score], split: str) -> Figure:
    """Plot the skill of the winner and of each baseline."""
    key, title = "scores", "Winner and baselines"
    if not found:
        return Figure(key, title, "No trial has a result yet.")
    canvas = Canvas(key, 58 + _BAR_HEIGHT * len(found), [each.name for each in found])
    for i, each in enumerate(found):
        is_winner = each.name == _LABELS["model"]
        color = ORANGE if is_winner else GREY
        (bar,) = canvas.axes.barh([i], [each.skill], height=0.6, color=color)
        canvas.add_tooltip(bar, Tooltip(_score_text(each)))
        end = each.interval[1] if each.interval else each.skill
        canvas.annotate(f"{each.skill:.3f}", max(0.0, end), i)
        if each.interval:
            canvas.axes.plot(each.interval, [i, i], color=BLACK, lw=1.6, marker="|", ms=9)
    canvas.label_axes(f"skill on the {split} voices")
    low = min(0.0, *(each.skill for each in found))
    canvas.axes.set_xlim(1.05 * low, 1.0)
    columns = ["", "skill", "timbre (ttl)", "rhythm (dp)", "95 % interval over voices"]
    rows = [[each.name, each.skill, each.ttl, each.dp, format_interval(each)] for each in found]
    explained = _BASELINES_EXPLAINED if len(found) > 1 else ""
    summary = (
        f"Skill on the {split} voices, where 0 is the mean voice and 1 is perfect: "
        f"{'; '.join(_score_text(each) for each in found)}.{explained}"
    )
    return Figure(key, title, summary, canvas.svg(), table(columns, rows))


def format_interval(each: Score) -> str:
    """Format the confidence interval, if there is one."""
    return f"{each.interval[0]:.3f} to {each.interval[1]:.3f}" if each.interval else ""


def _score_text(each: Score) -> str:
    more = f", 95 % interval over voices {format_interval(each)}" if each.interval else ""
    return f"{each.name} {each.skill:.3f}{more}"
