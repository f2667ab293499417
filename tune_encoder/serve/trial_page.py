"""The page of one trial: its settings, curve, epochs, why it ended, and its checkpoints."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from nicegui import ui

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.views import TrialView, trial_view
from tune_encoder.report.palette import BLUE, GREY
from tune_encoder.serve.actions import Actions
from tune_encoder.serve.charts import BEST, TEXT, Options, changes, chart, empty, tooltip
from tune_encoder.serve.epoch_rows import epoch_rows, epochs_grid
from tune_encoder.serve.frame import (
    RESPONSE_S,
    TOP,
    apply_change,
    figure,
    frame,
    heading,
    say_problem,
    table,
    text,
    while_open,
)
from tune_encoder.serve.stop_trial import StopTrial
from tune_encoder.serve.watching import Update, Watch, Watched
from tune_encoder.system.formats import format_value

_File = tuple[int, str]
"""Of a checkpoint: its epoch, and where it is."""


def add_trial_page(watch: Watch, actions: Actions) -> None:
    """Add the page at /e/NAME/NUMBER."""

    @ui.page("/e/{name}/{number}", response_timeout=RESPONSE_S)
    async def trial_page(name: str, number: str) -> None:
        try:
            watched = await watch.open(name)
            view, files = await asyncio.to_thread(_read, watched.experiment, _number(number))
        except TuneEncoderError as error:
            with frame("No such trial", *_above(name)):
                say_problem(error_line(error))
            return
        with frame(f"Trial {number}", *_above(name)):
            page = TrialPage(watched, view, files, actions)

        async def read_again() -> None:
            page.show(*await asyncio.to_thread(_read, watched.experiment, view["trial"]))

        def follow(update: Update) -> None:
            page.show_stop()
            if any(row["trial"] == view["trial"] for row in update.rows):
                ui.timer(0, read_again, once=True)

        while_open(watched.followers, follow)


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise TuneEncoderError(f"{word}: not the number of a trial; choose one in its experiment")
    return int(word[:18])


def _read(experiment: Experiment, number: int) -> tuple[TrialView, list[_File]]:
    """Read a trial, and which of its checkpoints are there."""
    view = trial_view(experiment, number)
    places = [(row["epoch"], experiment.checkpoint_location(row)) for row in view["rows"]]
    # A remote storage is not asked; of a folder what is gone is left out.
    is_remote = experiment.storage is not None
    return view, [
        (epoch, place) for epoch, place in places if place and (is_remote or Path(place).is_file())
    ]


def _above(name: str) -> list[tuple[str, str]]:
    return [TOP, (name, f"/e/{name}")]


class TrialPage:
    """What changes on the page of a trial."""

    def __init__(
        self, watched: Watched, view: TrialView, files: Sequence[_File], actions: Actions
    ) -> None:
        """Lay the page out."""
        self.watched, self.experiment, self.state = watched, watched.experiment, view["state"]
        self.line = text("", "verdict")
        self.why = text("", "reason")
        self.stop = (
            None if actions.is_read_only else StopTrial(actions, self.experiment, view["trial"])
        )
        self.options = trial_curve(view)
        with ui.element("div").classes("figures wide"):
            self.chart = figure("Curve", self.options, height=340)
        heading(2, "Settings")
        _settings(view)
        heading(2, "Epochs")
        self.grid = ui.aggrid(epochs_grid(view), auto_size_columns=False).classes("epochs")
        heading(2, "Checkpoints")
        self.checkpoints = ui.element("div")
        self.show(view, files)

    def show(self, view: TrialView, files: Sequence[_File]) -> None:
        """Show the trial as it is now."""
        self.line.set_text(view["line"].partition(": ")[0])
        self.why.set_text(view["why"])
        self.state = view["state"]
        self.show_stop()
        options = trial_curve(view)
        change = changes(self.options, options)
        self.options = options
        if change is not None:
            apply_change(self.chart, change)
            self.grid.run_grid_method("setGridOption", "rowData", epoch_rows(view["rows"]))
        self.checkpoints.clear()
        with self.checkpoints:
            _checkpoints(files)

    def show_stop(self) -> None:
        """Show the button that ends the trial as long as it is of use."""
        if self.stop is not None:
            facts = self.watched.facts
            self.stop.show(self.state, facts is not None and facts.is_running)


def _settings(view: TrialView) -> None:
    rows = [[name, format_value(value), "searched"] for name, value in view["searched"].items()]
    rows += [
        [name, format_value(value), "differs from its default"]
        for name, value in view["changed"].items()
        if name not in view["searched"]
    ]
    table(["setting", "value", ""], rows, "settings")
    rest = [
        [name, format_value(value)]
        for name, value in view["settings"].items()
        if name not in view["searched"] and name not in view["changed"]
    ]
    with ui.expansion(f"{len(rest)} settings as by default").classes("rest"):
        table(["setting", "value"], rest, "settings as by default")


def _checkpoints(files: Sequence[_File]) -> None:
    if files:
        table(["epoch", "file"], files[::-1], "checkpoints")
    else:
        text("None is stored.", "soft")


def trial_curve(view: TrialView) -> Options:
    """Draw a trial's metric and its training loss over its epochs."""
    rows, metric = view["rows"], view["metric"]
    if not rows:
        return empty("No epoch has been finished yet.")
    series = [_series(rows, metric, BLUE, view["best_epoch"])]
    if any("train_loss" in row for row in rows):
        series.append(_series(rows, "train_loss", GREY, None))
    names = [each["name"] for each in series]
    return chart(
        {"name": "epoch", "minInterval": 1, "min": 1},
        {},
        series,
        legend={"data": names, "textStyle": {"color": TEXT}, "left": 0, "top": 0},
        tooltip=tooltip("{a}\nepoch and value: {c}"),
    )


def _series(rows: Sequence[EpochRow], name: str, color: str, best: int | None) -> Options:
    points = [
        {
            "value": [row["epoch"], row[name]],  # type: ignore[literal-required]
            **({"itemStyle": {"color": BEST}, "symbolSize": 12} if row["epoch"] == best else {}),
        }
        for row in rows
        if name in row
    ]
    return {
        "id": name,
        "name": name,
        "type": "line",
        "data": points,
        "symbolSize": 6,
        "itemStyle": {"color": color},
        "lineStyle": {"color": color},
    }
