"""The page of all experiments of a root."""

from dataclasses import dataclass, field

from nicegui import ui

from tune_encoder.experiment.run_status import RUNNING
from tune_encoder.serve.actions import Actions
from tune_encoder.serve.frame import RESPONSE_S, frame, say_problem, text, while_open
from tune_encoder.serve.overview import Entry
from tune_encoder.serve.watching import Watch

MAX_COMPARED = 5  # more columns would be too narrow
_COLUMNS = ("done", "best", "baseline", "left", "who")
_LABELS = ("progress", "best", "strongest baseline", "time left", "run by")


def add_experiments_page(watch: Watch, actions: Actions) -> None:
    """Add the page at /."""

    @ui.page("/", response_timeout=RESPONSE_S)
    async def experiments_page() -> None:
        entries = await watch.entries()
        with frame("Experiments"):
            if not actions.is_read_only:
                ui.link("New search", "/start")
            shown = _Experiments(watch)
            shown.show(entries)
        while_open(watch.overview_followers, shown.show)


@dataclass
class _Row:
    """Where the values of an experiment stand."""

    state: ui.label
    bar: ui.element
    values: dict[str, ui.label]
    problem: ui.label
    is_broken: bool

    def show(self, entry: Entry) -> None:
        self.state.set_text(entry.state)
        self.state.classes(replace=f"state {entry.state}")
        self.bar.props["value"] = entry.progress or 0
        self.bar.set_visibility(entry.progress is not None)
        self.bar.update()
        for name, label in self.values.items():
            label.set_text(getattr(entry, name) or "-")
        self.problem.set_text(entry.problem)


@dataclass
class _Experiments:
    """The list, and what is chosen to be compared."""

    watch: Watch
    rows: dict[str, _Row] = field(default_factory=dict)
    chosen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        with ui.element("div").classes("bar"):
            self.count = text("", "soft")
            self.compare = ui.button("Compare", on_click=self._compare).props("flat no-caps")
        self.list = ui.element("div").classes("experiments")
        self._choose(None, False)

    def show(self, entries: list[Entry]) -> None:
        """Show the entries; rows stay as long as the same experiments can be read."""
        laid_out = [(name, row.is_broken) for name, row in self.rows.items()]
        if laid_out != [(entry.name, entry.problem != "") for entry in entries] or not entries:
            self._lay_out(entries)
        for entry in entries:
            self.rows[entry.name].show(entry)
        running = sum(entry.state == RUNNING for entry in entries)
        self.count.set_text(f"{len(entries)} in {self.watch.root}, {running} running")

    def _lay_out(self, entries: list[Entry]) -> None:
        readable = {entry.name for entry in entries if not entry.problem}
        self.chosen = [name for name in self.chosen if name in readable]
        self._choose(None, False)
        self.list.clear()
        with self.list:
            self.rows = {entry.name: self._row(entry) for entry in entries}
            if not entries:
                say_problem(
                    f"{self.watch.root} has no experiment yet; start one with `tune-encoder search "
                    f"--root {self.watch.root}`, and it appears here"
                )

    def _row(self, entry: Entry) -> _Row:
        broken = entry.problem != ""
        with ui.element("article").classes("experiment"):
            with ui.element("div").classes("title"):
                box = ui.checkbox(
                    value=entry.name in self.chosen,
                    on_change=lambda event, name=entry.name: self._choose(name, event.value),
                ).props(f'dense aria-label="compare {entry.name}"')
                box.set_enabled(not broken)
                if broken:
                    text(entry.name, "name")
                else:
                    ui.link(entry.name, f"/e/{entry.name}").classes("name")
                state = text("")
            bar = ui.element("progress").props('max=1 aria-label="share of the budget"')
            problem = text("", "reason")
            values = {}
            with ui.element("dl").classes("facts"):
                for name, label in zip(_COLUMNS, _LABELS, strict=True):
                    if broken:
                        continue
                    with ui.element("div"):
                        with ui.element("dt"):
                            text(label)
                        with ui.element("dd"):
                            values[name] = text("")
        return _Row(state, bar, values, problem, broken)

    def _choose(self, name: str | None, is_chosen: bool) -> None:
        self.chosen = [each for each in self.chosen if each != name]
        if name is not None and is_chosen:
            self.chosen.append(name)
        n = len(self.chosen)
        self.compare.set_enabled(2 <= n <= MAX_COMPARED)
        self.compare.set_text(f"Compare {n}" if n > 1 else f"Choose 2 to {MAX_COMPARED} to compare")

    def _compare(self) -> None:
        ui.navigate.to("/compare?" + "&".join(f"name={name}" for name in self.chosen))
