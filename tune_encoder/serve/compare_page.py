"""The page of two to five experiments side by side."""

import asyncio

from fastapi import Request
from nicegui import ui

from tune_encoder.errors import ConfigError, TuneEncoderError, error_line
from tune_encoder.experiment.status import format_score
from tune_encoder.experiment.views import Comparison, compare_experiments
from tune_encoder.report.facts import Facts
from tune_encoder.serve.charts import changes
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
from tune_encoder.system.formats import format_value


def add_compare_page(watch: Watch) -> None:
    """Add the page at /compare?name=ONE&name=OTHER."""

    @ui.page("/compare", response_timeout=RESPONSE_S)
    async def compare_page(request: Request) -> None:
        names = list(dict.fromkeys(request.query_params.getlist("name")))
        with frame("Compare", TOP):
            try:
                watched = await _open_all(watch, names)
                view = await asyncio.to_thread(compare_experiments, watch.root, names)
            except TuneEncoderError as error:
                say_problem(error_line(error))
                return
            _show(watched, view)


async def _open_all(watch: Watch, names: list[str]) -> list[Watched]:
    if not 2 <= len(names) <= MAX_COMPARED:
        raise ConfigError(
            f"{len(names)} experiments are named; choose 2 to {MAX_COMPARED} in the list of "
            "experiments"
        )
    return [await watch.open(name) for name in names]


def _show(watched: list[Watched], view: Comparison) -> None:
    for warning in view["warnings"]:
        say_problem(warning)
    from tune_encoder.serve.figures import compared_curves  # loads matplotlib

    shown = compared_curves(_facts(watched))
    with ui.element("div").classes("figures wide"):
        chart = figure("Best so far", shown, height=380)
    heading(2, "Results")
    rows: list[list[object]] = [
        ["best", *(format_score(e["best"]) if e["best"] else "none" for e in view["experiments"])],
        ["trials ended", *(each["trials_ended"] for each in view["experiments"])],
        ["epochs", *(each["epochs"] for each in view["experiments"])],
    ]
    names = [each["name"] for each in view["experiments"]]
    table(["", *names], rows, "results")
    heading(2, "Settings of the best trials that differ")
    settings = [
        [name, *map(format_value, values)] for name, values in view["differing_settings"].items()
    ]
    table(["setting", *names], settings, "settings that differ")

    def follow(update: Update) -> None:
        nonlocal shown
        if update.facts is None:
            return
        options = compared_curves(_facts(watched))
        change, shown = changes(shown, options), options
        if change is not None:
            apply_change(chart, change)

    for each in watched:
        while_open(each.followers, follow)


def _facts(watched: list[Watched]) -> list[Facts]:
    return [each.facts for each in watched if each.facts is not None]
