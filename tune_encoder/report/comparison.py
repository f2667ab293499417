"""Comparison with other searches."""

from collections.abc import Sequence

from tune_encoder.experiment.views import compare_experiments
from tune_encoder.report.drawing import CYCLE, Canvas, Tooltip
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, Table, table
from tune_encoder.report.progress import Progress, progress
from tune_encoder.system.formats import count_noun

_HEIGHT = 240
_DASHES = ("-", "--", ":", "-.")


def compared_curves(searches: Sequence[Facts]) -> Figure:
    """Plot the best skill so far of each search over its epochs."""
    key, title = "compared", "Best so far, compared"
    curves = [progress(each) for each in searches]
    if not any(each.steps for each in curves):
        return Figure(key, title, "None of these searches has a result yet.")
    canvas = Canvas(key, _HEIGHT)
    ends = [
        _line(canvas, facts, each, number)
        for number, (facts, each) in enumerate(zip(searches, curves, strict=True))
        if each.steps
    ]
    canvas.label_axes("epochs of all trials", f"best {searches[0].skill_name} so far")
    canvas.legend(canvas.axes.get_legend_handles_labels()[0])
    return Figure(key, title, f"{'; '.join(ends)}.", canvas, _table(searches, curves))


def _line(canvas: Canvas, facts: Facts, curves: Progress, number: int) -> str:
    name = facts.experiment.name
    positions = [*(step.epochs for step in curves.steps), curves.epochs]
    skills = [step.skill for step in curves.steps]
    color, dashes = CYCLE[number % len(CYCLE)], _DASHES[number % len(_DASHES)]
    (line,) = canvas.axes.step(
        positions, [*skills, skills[-1]], where="post", color=color, ls=dashes, lw=1.8, label=name
    )
    label = (
        f"{name}: {facts.skill_name} {skills[-1]:.3f} after {count_noun(curves.epochs, 'epoch')}"
    )
    canvas.add_tooltip(line, Tooltip(label))
    return label


def _table(searches: Sequence[Facts], curves: Sequence[Progress]) -> Table:
    rows = [
        [facts.experiment.name, step.epochs, step.skill, step.trial, step.epoch]
        for facts, each in zip(searches, curves, strict=True)
        for step in each.steps
    ]
    return table(["experiment", "after epochs", searches[0].skill_name, "trial", "epoch"], rows)


def compared_settings(searches: Sequence[Facts]) -> tuple[Table, list[str]]:
    """Return the settings in which the winners differ, and why scores may not be comparable."""
    root = searches[0].experiment.path.parent
    view = compare_experiments(root, [facts.experiment.name for facts in searches])
    rows = [[name, *values] for name, values in view["differing_settings"].items()]
    return table(["", *(each["name"] for each in view["experiments"])], rows), view["warnings"]
