"""The page of two to five experiments side by side."""

import asyncio
import contextlib

from fastapi import Request
from nicegui import ui

from tune_encoder.errors import ConfigError, TuneEncoderError, error_line
from tune_encoder.experiment.status import format_score
from tune_encoder.experiment.views import Comparison, compare
from tune_encoder.serve.charts import Options, changes
from tune_encoder.serve.experiments_page import MAX_COMPARED
from tune_encoder.serve.frame import (
    RESPONSE_S,
    TOP,
    apply_change,
    figure,
    frame,
    heading,
    say_problem,
    table,
    while_open,
)
from tune_encoder.serve.watching import Update, Watch, Watched
from tune_encoder.system.formats import count_noun, format_value


def add_compare_page(watch: Watch) -> None:
    """Add the page at /compare?name=ONE&name=OTHER."""

    @ui.page("/compare", response_timeout=RESPONSE_S)
    async def compare_page(request: Request) -> None:
        names = list(dict.fromkeys(request.query_params.getlist("name")))
        with frame("Compare", TOP):
            try:
                watched = await _open_all(watch, names)
                view = await asyncio.to_thread(_compare, watched)
            except TuneEncoderError as error:
                say_problem(error_line(error))
                return
            page = ComparePage(watched, view)
        for each in watched:
            while_open(each.followers, page.update)


async def _open_all(watch: Watch, names: list[str]) -> list[Watched]:
    if not 2 <= len(names) <= MAX_COMPARED:
        raise ConfigError(
            f"{count_noun(len(names), 'experiment')} to compare; choose 2 to {MAX_COMPARED} in the "
            "list of experiments"
        )
    return [await watch.open(name) for name in names]


class ComparePage:
    """What changes on the page of several experiments."""

    def __init__(self, watched: list[Watched], view: Comparison) -> None:
        """Lay the page out."""
        self.watched, self.view = watched, view
        for warning in view["warnings"]:
            say_problem(warning)
        self.options = _curves(watched)
        with ui.element("div").classes("figures wide"):
            self.chart = figure("Best so far", self.options, height=380)
        self.tables = ui.element("div")
        self._show_tables()

    def update(self, update: Update) -> None:
        """Change what has changed."""
        if update.facts is None:
            return
        options = _curves(self.watched)
        change, self.options = changes(self.options, options), options
        if change is not None:
            apply_change(self.chart, change)
        if update.rows:
            ui.timer(0, self._compare_again, once=True)

    async def _compare_again(self) -> None:
        with contextlib.suppress(TuneEncoderError):  # until it can be read again
            view = await asyncio.to_thread(_compare, self.watched)
            if view != self.view:
                self.view = view
                self._show_tables()

    def _show_tables(self) -> None:
        self.tables.clear()
        with self.tables:
            heading(2, "Results")
            names = [each["name"] for each in self.view["experiments"]]
            table(["", *names], _results(self.view), "results")
            heading(2, "Settings of the best trials that differ")
            differing = self.view["differing_settings"].items()
            settings = [[name, *map(format_value, values)] for name, values in differing]
            if settings:
                table(["setting", *names], settings, "settings that differ")
            else:
                ui.label("None.")


def _compare(watched: list[Watched]) -> Comparison:
    return compare([each.experiment for each in watched])


def _results(view: Comparison) -> list[list[object]]:
    return [
        ["best", *(format_score(e["best"]) if e["best"] else "none" for e in view["experiments"])],
        ["trials ended", *(each["trials_ended"] for each in view["experiments"])],
        ["epochs", *(each["epochs"] for each in view["experiments"])],
    ]


def _curves(watched: list[Watched]) -> Options:
    from tune_encoder.serve.figures import compared_curves  # loads matplotlib

    return compared_curves([each.facts for each in watched if each.facts is not None])
