"""The page of one experiment: its numbers, its figures and its trials, while it runs."""

import re

from nicegui import events, ui

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.experiment.status import (
    FAILED,
    FINISHED,
    STOPPED,
    format_counts,
    format_score,
    format_time,
)
from tune_encoder.report.facts import Facts
from tune_encoder.serve.actions import Actions
from tune_encoder.serve.charts import BEST, CHART_HEIGHT, PARALLEL_ROW, state_color
from tune_encoder.serve.frame import (
    RESPONSE_S,
    TOP,
    apply_change,
    figure,
    frame,
    heading,
    numbers,
    say_problem,
    text,
    while_open,
)
from tune_encoder.serve.overview import describe_baseline, describe_process
from tune_encoder.serve.steering_panel import SteeringPanel
from tune_encoder.serve.trial_rows import grid_options
from tune_encoder.serve.watching import Update, Watch, Watched

LANE_HEIGHT = 22  # pixels
_NUMBERS = ("state", "best", "strongest baseline", "trials", "epochs", "time", "run by")
_TITLES = {
    "curves": "Learning curves",
    "best-epochs": "Best so far, over epochs",
    "best-time": "Best so far, over time",
    "importance": "Importance of settings",
    "parallel": "Parallel coordinates",
    "timeline": "Timeline of workers",
}
_NOTES = {
    "curves": "Each line is a trial; dashed lines are rungs, where trials are compared. Choose a "
    "line to open its trial.",
    "parallel": "From the settings down to the score; lighter lines are better. Drag along an axis "
    "to see only the trials within, click it to see all.",
    "importance": "By PED-ANOVA: how much the values of the better half differ from all.",
}
_ZOOM = (
    "Zoom with the button in a corner, Ctrl and the wheel, or two fingers; move with Shift held."
)
_TRIAL = re.compile(r"trial (\d+)\b")


def add_experiment_page(watch: Watch, actions: Actions) -> None:
    """Add the page at /e/NAME."""

    @ui.page("/e/{name}", response_timeout=RESPONSE_S)
    async def experiment_page(name: str) -> None:
        try:
            watched = await watch.open(name)
        except TuneEncoderError as error:
            with frame("No such experiment", TOP):
                say_problem(error_line(error))
            return
        with frame(name, TOP):
            ui.link("Hear its voices, and clone with its model", f"/e/{name}/hearing").classes(
                "hear"
            )
            page = ExperimentPage(watched, actions)
        while_open(watched.followers, page.update)


class ExperimentPage:
    """What changes on the page of an experiment."""

    def __init__(self, watched: Watched, actions: Actions) -> None:
        """Lay the page out with what is known now."""
        facts = watched.facts
        assert facts is not None
        self.watched = watched
        self.problem = text("", "problem").props("role=alert")
        self.problem.set_visibility(False)
        if not actions.is_read_only:
            with ui.element("div").classes("actions"):
                SteeringPanel(actions, watched.experiment)
        self.numbers = numbers(_NUMBERS)
        self.next = text("", "command")
        self._show_numbers(facts)
        self.charts: dict[str, ui.echart] = {}
        self._lay_out(facts)

    def update(self, update: Update) -> None:
        """Change what has changed."""
        self.problem.set_visibility(bool(update.problem))
        self.problem.set_text(update.problem)
        if update.facts is None:
            return
        self._show_numbers(update.facts)
        for key, change in update.charts.items():
            if key in self.charts:
                apply_change(self.charts[key], change)
        if update.rows:
            self._change_rows(update)

    def _show_numbers(self, facts: Facts) -> None:
        status = facts.status
        best, budget = status["best"], status["epochs_budget"]
        where = "" if best is None else f", trial {best['trial']} epoch {best['epoch']}"
        saved = f", {status['epochs_saved']} saved by early stopping"
        values = {
            "state": status["state"],
            "best": "none yet" if best is None else f"{format_score(best)}{where}",
            "strongest baseline": describe_baseline(status) or "unknown",
            "trials": format_counts(status),
            "epochs": f"{status['epochs']}{f' of {budget}' if budget else ''}{saved}",
            "time": format_time(status["time"]),
            "run by": describe_process(status["process"]) or "no process",
        }
        for name, value in values.items():
            self.numbers[name].set_text(value)
        self.numbers["state"].classes(replace=f"state {status['state']}")
        self.next.set_text(f"To resume it: {status['resume']}" if status["resume"] else "")

    def _lay_out(self, facts: Facts) -> None:
        heading(2, "Progress")
        _legend()
        with ui.element("div").classes("figures wide"):
            self._add("curves", height=420)
        with ui.element("div").classes("figures"):
            self._add("best-epochs")
            self._add("best-time")
        heading(2, "Trials")
        self.in_grid = set(self.watched.rows)
        self.grid = ui.aggrid(
            grid_options(facts, self.watched.rows), auto_size_columns=False
        ).classes("trials")
        heading(2, "Settings")
        n = len(facts.space.parameters)
        with ui.element("div").classes("figures"):
            self._add("importance", height=max(CHART_HEIGHT, 60 + 28 * n))
            self._add("parallel", height=max(CHART_HEIGHT, 40 + PARALLEL_ROW * (n + 1)))
        heading(2, "Each setting")
        with ui.element("div").classes("figures small"):
            for key in self.watched.charts:
                if key.startswith("slice-"):
                    self._add(key, height=240)
        heading(2, "Workers")
        with ui.element("div").classes("figures wide"):
            self._add("timeline", height=_timeline_height(facts))

    def _add(self, key: str, height: int = CHART_HEIGHT) -> None:
        title = _TITLES.get(key, key.removeprefix("slice-"))
        options = self.watched.charts[key]
        chart = figure(title, options, _NOTES.get(key, ""), height)
        chart.on_point_click(self._open_trial)
        self.charts[key] = chart

    def _open_trial(self, event: events.EChartPointClickEventArguments) -> None:
        """Open the trial that a mark is named after."""
        found = _TRIAL.match(event.name or "") or _TRIAL.match(event.series_name or "")
        if found:
            ui.navigate.to(f"/e/{self.watched.experiment.name}/{found[1]}")

    def _change_rows(self, update: Update) -> None:
        added = [row for row in update.rows if row["trial"] not in self.in_grid]
        changed = [row for row in update.rows if row["trial"] in self.in_grid]
        self.in_grid.update(row["trial"] for row in added)
        self.grid.run_grid_method("applyTransaction", {"add": added, "update": changed})


def _timeline_height(facts: Facts) -> int:
    from tune_encoder.report.timeline import MAX_LANES  # loads matplotlib

    n_lanes = len({row.get("worker") for trial in facts.trials for row in trial.rows[-1:]})
    return 110 + LANE_HEIGHT * min(max(n_lanes, 3), MAX_LANES)


def _legend() -> None:
    """Name the colours of trials, which all figures share."""
    names = {"best": BEST, **{name: state_color(name) for name in (FINISHED, STOPPED, FAILED)}}
    with ui.element("ul").classes("legend"):
        for name, color in {**names, "running": state_color("running")}.items():
            with ui.element("li"):
                ui.element("span").style(f"background: {color}")
                text(name)
    text(_ZOOM, "soft")
