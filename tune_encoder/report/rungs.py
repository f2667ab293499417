"""Epochs trained and saved between rungs."""

from typing import NamedTuple

from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.drawing import BLUE, GREY, PALE, Canvas, Tooltip
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, table
from tune_encoder.space.plan import rung_epochs
from tune_encoder.system.formats import count_noun


class Rung(NamedTuple):
    """The epochs between two rungs."""

    first: int
    last: int
    reached: int
    """Trials that reached the last epoch."""
    spent: int
    """Epochs trained, of all trials."""
    saved: int
    """Epochs that stopped trials did not train."""


def rungs(facts: Facts) -> list[Rung]:
    """Return the epochs trained and saved between each rung and the next."""
    ends = [*rung_epochs(facts.space), facts.space.budget.epochs]
    found = []
    for first, last in zip([1, *(end + 1 for end in ends)], ends, strict=False):
        epochs = [_within(trial, first, last) for trial in facts.trials]
        stopped = [_within(trial, first, last) for trial in facts.trials if trial.state == "PRUNED"]
        saved = sum(last - first + 1 - count for count in stopped)
        reached = sum(any(row["epoch"] >= last for row in t.rows) for t in facts.trials)
        found.append(Rung(first, last, reached, sum(epochs), saved))
    return found


def _within(trial: TrialRecord, first: int, last: int) -> int:
    return sum(first <= row["epoch"] <= last for row in trial.rows)


def rung_bars(facts: Facts) -> Figure:
    """Plot the epochs trained and saved between rungs."""
    key, title = "rungs", "Epochs between rungs"
    found = rungs(facts)
    if not any(rung.spent for rung in found):
        return Figure(key, title, "No epoch has been finished yet.")
    canvas = Canvas(key, height=240)
    for i, rung in enumerate(found):
        _rung_bar(canvas, i, rung)
    canvas.axes.set_xticks(range(len(found)), [_span(rung) for rung in found])
    canvas.label_axes("epochs of a trial", "epochs of all trials")
    canvas.axes.grid(visible=False, axis="x")
    canvas.legend(canvas.axes.containers[:2])
    spent, saved = sum(r.spent for r in found), sum(r.saved for r in found)
    share = saved / (spent + saved)
    summary = (
        f"{count_noun(spent, 'epoch')} trained; early stopping saved {saved}, {share:.0%} of what "
        f"these trials would have taken. {found[-1].reached} of "
        f"{count_noun(len(facts.trials), 'trial')} reached epoch {found[-1].last}."
    )
    columns = ["epochs", "trials that reached the end", "trained", "saved"]
    rows = [[_span(rung), rung.reached, rung.spent, rung.saved] for rung in found]
    return Figure(key, title, summary, canvas, table(columns, rows))


def _span(rung: Rung) -> str:
    return str(rung.last) if rung.first == rung.last else f"{rung.first}-{rung.last}"


def _rung_bar(canvas: Canvas, i: int, rung: Rung) -> None:
    (spent,) = canvas.axes.bar([i], [rung.spent], width=0.6, color=BLUE, label="trained")
    (saved,) = canvas.axes.bar(
        [i], [rung.saved], width=0.6, bottom=[rung.spent], label="saved",
        facecolor=PALE, edgecolor=GREY, hatch="///", lw=0.5,
    )  # fmt: skip
    words = f"epochs {_span(rung)}: {rung.spent} trained, {rung.saved} saved"
    for bar in (spent, saved):
        canvas.add_tooltip(
            bar, Tooltip(f"{words}\n{count_noun(rung.reached, 'trial')} reached the end")
        )
