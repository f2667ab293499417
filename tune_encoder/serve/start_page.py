"""The page on which a search is started: first its data and its plan are shown."""

import asyncio
from pathlib import Path
from weakref import WeakSet

from nicegui import app, ui

from tune_encoder.errors import ConfigError, TuneEncoderError, error_line
from tune_encoder.experiment.folder import experiment_path
from tune_encoder.serve.actions import READ_ONLY, Actions
from tune_encoder.serve.config_form import hinted
from tune_encoder.serve.dialog import Asking, client_address
from tune_encoder.serve.frame import RESPONSE_S, TOP, frame, heading, numbers, say_problem, table
from tune_encoder.serve.frame import text as add_text
from tune_encoder.serve.jobs_view import JobsView
from tune_encoder.serve.start_check import Checking, cost_rows
from tune_encoder.serve.start_form import StartForm, Wish
from tune_encoder.space import SearchSpace
from tune_encoder.space.plan import Plan, plan_search
from tune_encoder.system.lock import lock_holder

LOOK_S = 0.5  # between two looks at a search that starts
HERE, CLUSTER = "this machine", "the cluster of this machine"
_SEARCH = "search"


def add_start_page(actions: Actions) -> None:
    """Add the page at /start, whose checks end with the server."""
    pages: WeakSet[StartPage] = WeakSet()

    @app.on_shutdown
    def end_checks() -> None:
        for page in pages:
            page.checking.cancel()

    @ui.page("/start", response_timeout=RESPONSE_S)
    async def start_page() -> None:
        with frame("New search", TOP):
            if actions.is_read_only:
                say_problem(READ_ONLY)
                return
            pages.add(StartPage(actions, await asyncio.to_thread(_find_cluster)))


def _find_cluster() -> str:
    """Return the address of the cluster of `cluster start`; empty if none runs."""
    from tune_encoder.tuning.cluster.state import find_cluster

    try:
        found = find_cluster()
    except TuneEncoderError:  # what it left cannot be read
        return ""
    return found.address if found is not None else ""


def _free_name(root: Path) -> str:
    names = (_SEARCH, *(f"{_SEARCH}-{i}" for i in range(2, 1000)))
    return next((name for name in names if not (root / name).exists()), "")


class StartPage:
    """A form, what was found out, and the search that starts."""

    def __init__(self, actions: Actions, cluster: str) -> None:
        """Lay it out.

        Args:
            actions: What may be done.
            cluster: The address of the cluster that runs on this machine; empty if there is none.
        """
        self.actions, self.checking = actions, Checking()
        self.form = StartForm(_free_name(actions.root))
        self.where = ui.select(
            [CLUSTER, HERE] if cluster else [HERE],
            label="where",
            value=CLUSTER if cluster else HERE,
        )
        hinted(self.where, f"the cluster at {cluster}" if cluster else "no cluster runs here")
        self.where.set_visibility(bool(cluster))
        with ui.element("div").classes("buttons"):
            self.check = ui.button("Check data and plan", on_click=self._check)
            self.start = ui.button("Start", on_click=self._ask)
            self.spinner = ui.spinner(size="1.5rem").props('aria-label="checking"')
            self.doing = add_text("", "soft").props("role=status")
        self.check.props("outline no-caps")
        self.start.props("unelevated no-caps")
        self.found = ui.element("div")
        self.asking = Asking()
        self.output = ui.element("div")
        self.checked: Wish | None = None
        self._wait("")
        ui.context.client.on_delete(lambda: self.checking.cancel())

    def _wait(self, doing: str) -> None:
        """Say what is waited for, or nothing."""
        self.doing.set_text(doing)
        self.spinner.set_visibility(bool(doing))
        self.check.set_enabled(not doing)
        self.start.set_enabled(not doing and self.checked is not None)

    async def _check(self) -> None:
        checking = self.checking = Checking()
        self.checked = None
        self.found.clear()
        self._wait("reading the space ...")
        try:
            wish = self.form.wish()
            space = await asyncio.to_thread(wish.resolve, self.actions.root)
            await self._check_data(wish.data_dir or space.data_dir)
            await self._show_plan(wish, space)
        except (TuneEncoderError, OSError) as error:
            self._complain(checking, error_line(error))
        except Exception as error:
            self._complain(checking, error_line(f"{type(error).__name__}: {error}"))
            raise
        finally:
            if not checking.is_cancelled:  # else the page is gone, or the search has started
                self._wait("")

    def _complain(self, checking: Checking, problem: str) -> None:
        if not checking.is_cancelled:
            with self.found:
                say_problem(problem)

    async def _check_data(self, folder: str) -> None:
        with self.found:
            heading(2, "Data")
        if not folder:
            with self.found:
                add_text("The built-in demo voices; they are synthetic.")
            return
        self._wait(f"checking {folder} ...")
        said = await self.checking.data(folder)
        with self.found:
            add_text(said, "output")

    async def _show_plan(self, wish: Wish, space: SearchSpace) -> None:
        plan = await asyncio.to_thread(plan_search, space)
        self.checked = wish
        with self.found:
            heading(2, "Plan")
            shown = numbers(("trials", "epochs", "time", "an epoch", "disk"))
            _show_rungs(plan)
        shown["trials"].set_text(f"{plan.trials} of up to {plan.epochs} epochs")
        without = f"{plan.full_epochs} without early stopping"
        shown["epochs"].set_text(f"{plan.total_epochs} in all, {without}")
        self._wait("timing a few configs; the search can be started meanwhile ...")
        self.start.enable()
        for name, words in cost_rows(await self.checking.cost(space, wish.data_dir)).items():
            shown[name].set_text(words)

    def _ask(self) -> None:
        async def act() -> str:
            return await self._start()

        name = self.checked.name if self.checked is not None else ""
        self.asking.ask(
            "Start the search?",
            f"{name} runs on {self.where.value}, also when this page is closed.",
            "Start",
            act,
        )

    async def _start(self) -> str:
        wish = self.form.wish()
        if wish != self.checked:
            raise ConfigError("the form has changed since it was checked; check it again")
        command = "submit" if self.where.value == CLUSTER else _SEARCH
        words = wish.words(self.actions.root)

        def act() -> str:
            wish.resolve(self.actions.root)
            self.actions.jobs.start(wish.name, command, words)
            return f"{wish.name} starts; its page opens as soon as there is something to see"

        said = await self.actions.perform(client_address(), " ".join((command, *words)), act)
        self.checking.cancel()
        self.checked = None
        self._wait("")
        self._follow(wish.name)
        return said

    def _follow(self, name: str) -> None:
        """Show the output of the search that starts, until its page can be opened."""
        path = experiment_path(self.actions.root, name)
        self.output.clear()
        with self.output:
            view = JobsView(self.actions.jobs, name)

            def look() -> None:
                view.look()
                if (path / "search.yaml").is_file() and lock_holder(path) is not None:
                    timer.deactivate()
                    ui.navigate.to(f"/e/{name}")

            timer = ui.timer(LOOK_S, look)


def _show_rungs(plan: Plan) -> None:
    rows = [[rung.trials, rung.epochs, rung.spent] for bracket in plan.brackets for rung in bracket]
    table(["trials", "to epoch", "epochs spent"], rows, "plan")
