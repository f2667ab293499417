"""Scores of the winner and the baselines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tune_encoder.data.fold_scores import interval_95
from tune_encoder.data.pack import PackedData
from tune_encoder.data.score_words import NEW, describe_interval, skill_name
from tune_encoder.experiment.epoch_row import validation_scores
from tune_encoder.report.drawing import BLACK, GREY, ORANGE, Canvas, Tooltip
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, table

if TYPE_CHECKING:
    from tune_encoder.report.winner import Exported, Winner

_BAR_HEIGHT = 30
_LABELS = {
    "mean": "mean voice",
    "ridge": "ridge",
    "statistics": "statistics",
    "nearest": "nearest voice",
    "model": "the winner",
    "export": "the exported model",
}


_BASELINES_EXPLAINED = (
    " Ridge is a ridge regression from the mean and standard deviation of each mel band, "
    "statistics a kernel regression from more statistics; the nearest "
    "voice is the training voice closest to the winner's prediction."
)


class Score(NamedTuple):
    """One bar."""

    name: str
    skill: float
    ttl: float | None
    dp: float | None
    interval: tuple[float, float] | None = None


class Scores(NamedTuple):
    """The bars, and what they were scored on."""

    bars: list[Score]
    """The baselines, then the winner."""
    split: str
    voices: str | None
    """Whether the voices of the split are known, new, or mixed; None if unknown."""
    interval_words: str
    """The interval of the winner's skill, or why there is none; empty if it was not evaluated."""
    exported: Score | None = None
    """Of the exported model, if it is another than the winner, such as a blend."""
    exported_how: str = ""
    """What makes it another one, for people."""

    @property
    def skill_name(self) -> str:
        """Name of the skill on these voices."""
        return skill_name(self.voices)


def scores(
    facts: Facts,
    data: PackedData | None,
    winner: "Winner | None",
    exported: "Exported | None" = None,
) -> Scores:
    """Return scores of the baselines and the winner, on test if it could be evaluated."""
    if winner is not None:
        found = winner.evaluation.scores
        interval, voices = winner.evaluation.interval, winner.evaluation.voices
        order = sorted(found, key=[*_LABELS].index)
        bars = [_score(name, found[name], interval if name == "model" else None) for name in order]
        words = describe_interval(interval, voices)
        if exported is None:
            return Scores(bars, winner.split, voices, words)
        export = exported.evaluation
        bar = _score("export", export.scores["model"], export.interval)
        return Scores(bars, winner.split, voices, words, bar, exported.how)
    known = [_score(name, each) for name, each in baselines(facts, data).items()]
    best = facts.best
    interval = None
    if best is not None and best.best is not None:
        found_last = validation_scores(best.best)
        interval = _interval_over_folds(facts, found_last)
        known.append(_score("model", found_last, interval))
    words = describe_interval(interval, NEW) if interval is not None else ""
    return Scores(known, _validated_on(facts), facts.status["voices"], words)


def _validated_on(facts: Facts) -> str:
    return "val" if facts.space.validation.folds == 1 else "left-out"


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


def score_bars(scored: Scores) -> Figure:
    """Plot the skill of the winner and of each baseline."""
    key, title = "scores", "Winner and baselines"
    found, name = scored.bars, scored.skill_name
    if scored.exported is not None:
        found = [*found, scored.exported]
    if not found:
        return Figure(key, title, "No trial has a result yet.")
    canvas = Canvas(key, 58 + _BAR_HEIGHT * len(found), [each.name for each in found])
    for i, each in enumerate(found):
        color = ORANGE if each.name in (_LABELS["model"], _LABELS["export"]) else GREY
        (bar,) = canvas.axes.barh([i], [each.skill], height=0.6, color=color)
        canvas.add_tooltip(bar, Tooltip(_score_text(each)))
        end = each.interval[1] if each.interval else each.skill
        canvas.annotate(f"{each.skill:.3f}", max(0.0, end), i)
        if each.interval:
            canvas.axes.plot(each.interval, [i, i], color=BLACK, lw=1.6, marker="|", ms=9)
    canvas.label_axes(f"{name} on the {scored.split} voices")
    low = min(0.0, *(each.skill for each in found))
    canvas.axes.set_xlim(1.05 * low, 1.0)
    columns = ["", name, "timbre (ttl)", "rhythm (dp)", "95 % interval over voices"]
    rows = [[each.name, each.skill, each.ttl, each.dp, format_interval(each)] for each in found]
    explained = _BASELINES_EXPLAINED if len(found) > 1 else ""
    summary = (
        f"{name.capitalize()} on the {scored.split} voices, where 0 is the mean voice and 1 is "
        f"perfect: {'; '.join(_score_text(each) for each in found)}.{explained}"
    )
    return Figure(key, title, summary, canvas, table(columns, rows))


def format_interval(each: Score) -> str:
    """Format the confidence interval, if there is one."""
    return f"{each.interval[0]:.3f} to {each.interval[1]:.3f}" if each.interval else ""


def _score_text(each: Score) -> str:
    more = f", 95 % interval over voices {format_interval(each)}" if each.interval else ""
    return f"{each.name} {each.skill:.3f}{more}"
