"""What all pages have in common: their head, their look, and how they follow a search."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files

from nicegui import ui

from tune_encoder.serve.charts import CHART_HEIGHT, Change, Options

TOP = ("Experiments", "/")
RESPONSE_S = 60.0  # for the first reading of a large experiment


def add_look() -> None:
    """Add the style sheet to all pages."""
    ui.add_css(files("tune_encoder.serve").joinpath("page.css").read_text("utf-8"), shared=True)


@contextmanager
def frame(title: str, *trail: tuple[str, str]) -> Iterator[None]:
    """Lay out a page with its heading.

    Args:
        title: The heading, and the title of the window.
        trail: The pages above it, as names and addresses; see `TOP`.
    """
    ui.page_title(f"{title} - tune-encoder")
    with ui.element("main").classes("page"):
        with ui.element("nav").props('aria-label="pages above"').classes("trail"):
            for name, address in trail:
                ui.link(name, address)
        heading(1, title)
        yield


def heading(level: int, words: str) -> None:
    """Add a heading."""
    with ui.element(f"h{level}"):
        text(words)


def text(words: str, classes: str = "") -> ui.label:
    """Add text, in which markup is shown as it is written."""
    label = ui.label(words)
    if classes:
        label.classes(classes)
    return label


def say_problem(words: str) -> None:
    """Say in a box why something cannot be shown."""
    with ui.element("div").classes("problem").props("role=alert"):
        text(words)


def numbers(labels: Sequence[str]) -> dict[str, ui.label]:
    """Add a row of numbers with their labels, and return where each number stands."""
    found = {}
    with ui.element("dl").classes("numbers"):
        for label in labels:
            with ui.element("div"):
                with ui.element("dt"):
                    text(label)
                with ui.element("dd"):
                    found[label] = text("")
    return found


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], label: str) -> None:
    """Add a small table of text."""
    place = (
        ui.element("div").classes("scroll").props(f'tabindex=0 role=region aria-label="{label}"')
    )
    with place, ui.element("table"):
        with ui.element("thead"), ui.element("tr"):
            for name in columns:
                with ui.element("th").props("scope=col"):
                    text(name)
        with ui.element("tbody"):
            for row in rows:
                with ui.element("tr"):
                    for cell in row:
                        with ui.element("td"):
                            text(str(cell))


def figure(title: str, options: Options, note: str = "", height: int = CHART_HEIGHT) -> ui.echart:
    """Add a chart with its title and a note on how to read it."""
    with ui.element("figure"):
        heading(3, title)
        chart = ui.echart({**options})
        chart.props["role"], chart.props["aria-label"] = "img", title
        chart.style(f"height: {height}px")
        if note:
            with ui.element("figcaption"):
                text(note)
    return chart


def apply_change(chart: ui.echart, change: Change) -> None:
    """Change a chart in its page; what its reader has zoomed to stays."""
    chart.run_chart_method("setOption", change.options, change.how)


def while_open(followers: set[Callable[..., None]], follower: Callable[..., None]) -> None:
    """Let a page follow something until it is closed."""
    client = ui.context.client

    def follow(*news: object) -> None:
        with client:
            follower(*news)

    followers.add(follow)
    client.on_delete(lambda: followers.discard(follow))
