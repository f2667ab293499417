"""The buttons of an experiment's page, and the output of what they started."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from nicegui import ui

from tune_encoder.config import CONFIRMED_CONFIGS
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.run import EXPORTED
from tune_encoder.experiment.steering import (
    add_config,
    continue_search,
    kill_trial,
    pause_search,
    stop_search,
)
from tune_encoder.serve.actions import Actions
from tune_encoder.serve.config_form import ConfigForm, hinted
from tune_encoder.serve.dialog import Asking, client_address
from tune_encoder.serve.files import MODEL, REPORT, file_address
from tune_encoder.serve.jobs_view import JobSeen, JobsView
from tune_encoder.serve.numbers import whole_numbers
from tune_encoder.serve.start_form import EXPORTS, NO_EXPORT
from tune_encoder.serve.stop_trial import ENDS
from tune_encoder.system.formats import count_noun
from tune_encoder.system.lock import lock_holder
from tune_encoder.system.manifest import PROVENANCE

LOOK_S = 1.0  # between two looks at whether it runs, is paused, and what is written
_ALWAYS = ("Add a config", "Export", "Report")
_RUNNING = ("Stop", "Stop a trial")
_IDLE = ("Resume", "Confirm")


class _Seen(NamedTuple):
    """What the buttons and the output depend on."""

    is_running: bool
    is_paused: bool
    has_report: bool
    has_model: bool
    jobs: list[JobSeen]


class SteeringPanel:
    """Buttons that fit the state of a search, and the commands that they started."""

    def __init__(self, actions: Actions, experiment: Experiment) -> None:
        """Lay it out with what can be done now."""
        self.actions, self.experiment = actions, experiment
        choices: dict[str, Callable[[], object]] = {
            "Pause": self._ask_pause,
            "Continue": self._ask_continue,
            "Stop": self._ask_stop,
            "Resume": self._ask_resume,
            "Add a config": self._ask_add,
            "Stop a trial": self._ask_kill,
            "Confirm": self._ask_confirm,
            "Export": self._ask_export,
            "Report": self._ask_report,
        }
        with ui.element("div").classes("buttons").props('role=group aria-label="actions"'):
            self.buttons = {
                name: ui.button(name, on_click=ask).props("outline no-caps")
                for name, ask in choices.items()
            }
            self.report = ui.link("Open the report", file_address(experiment.name, REPORT))
            self.report.props("target=_blank")
            self.model = ui.link("Download the model", file_address(experiment.name, MODEL))
        self.asking = Asking()
        self.jobs = JobsView(actions.jobs, experiment.name)
        self._show(self._look())
        ui.timer(LOOK_S, self.look)

    async def look(self) -> None:
        """Show what can be done now; other pages are not kept waiting for the disk."""
        self._show(await asyncio.to_thread(self._look))

    def _look(self) -> _Seen:
        path = self.experiment.path
        return _Seen(
            is_running=lock_holder(path) is not None,
            is_paused=Controls(self.experiment).pause_requested(),
            has_report=(path / REPORT).is_file(),
            has_model=(path / EXPORTED / PROVENANCE).is_file(),
            jobs=self.jobs.look(),
        )

    def _show(self, seen: _Seen) -> None:
        running, paused = seen.is_running, seen.is_paused
        shown = {"Pause": running and not paused, "Continue": running and paused}
        shown |= dict.fromkeys(_RUNNING, running) | dict.fromkeys(_IDLE, not running)
        for name, is_shown in {**shown, **dict.fromkeys(_ALWAYS, True)}.items():
            self.buttons[name].set_visibility(is_shown)
        self.report.set_visibility(seen.has_report)
        self.model.set_visibility(seen.has_model)
        self.jobs.show(seen.jobs)

    # --- told to the search that runs ------------------------------------------------------------

    def _ask_pause(self) -> None:
        self._ask(
            "Pause the search?",
            "Its trials finish their current epochs, then it releases its workers and waits until "
            "it is continued.",
            "Pause",
            pause_search,
        )

    def _ask_continue(self) -> None:
        self._ask("Continue the search?", "Its trials go on.", "Continue", continue_search)

    def _ask_stop(self) -> None:
        self._ask(
            "Stop the search?",
            "Its trials finish their current epochs and everything is saved; it can be resumed.",
            "Stop",
            stop_search,
        )

    async def _ask_kill(self) -> None:
        trials = await asyncio.to_thread(self.experiment.trials, fields=())
        going = [trial.number for trial in trials if trial.state == "RUNNING"]
        if not going:
            self.asking.say(f"{self.experiment.name} has no unfinished trial")
            return
        self._choose_trial(going)

    def _choose_trial(self, going: list[int]) -> None:
        chosen = going[0]

        def fields() -> None:
            def choose(number: int) -> None:
                nonlocal chosen
                chosen = number

            names = {number: f"trial {number}" for number in going}
            select = ui.select(
                names, label="trial", value=chosen, on_change=lambda event: choose(event.value)
            )
            hinted(select, count_noun(len(going), "unfinished trial"))

        self._ask(
            "Stop a trial?",
            ENDS,
            "Stop the trial",
            lambda experiment: kill_trial(experiment, chosen),
            lambda: f"kill-trial {chosen}",
            fields,
        )

    async def _ask_add(self) -> None:
        form = ConfigForm(await asyncio.to_thread(self.experiment.space))
        filled: list[str] = []

        def add(experiment: Experiment) -> str:
            return add_config(experiment, filled)

        def what() -> str:
            filled[:] = form.settings()
            return f"add {' '.join(filled)}"

        self._ask(
            "Add a config?",
            "The search tries it next, or when it is resumed.",
            "Add",
            add,
            what,
            form.lay_out,
        )

    def _ask(
        self,
        title: str,
        words: str,
        verb: str,
        tell: Callable[[Experiment], str],
        what: Callable[[], str] | None = None,
        fields: Callable[[], None] | None = None,
    ) -> None:
        async def act() -> str:
            name = what() if what is not None else verb.lower()
            return await self._perform(name, lambda: tell(self.experiment))

        self.asking.ask(title, words, verb, act, fields)

    async def _perform(self, what: str, act: Callable[[], str]) -> str:
        about = f"{self.experiment.name}: {what}"
        words = await self.actions.perform(client_address(), about, act)
        await self.look()
        return words

    # --- commands of their own -------------------------------------------------------------------

    async def _ask_resume(self) -> None:
        budget = (await asyncio.to_thread(self.experiment.space)).budget
        inputs: dict[str, ui.input] = {}
        boxes: list[ui.checkbox] = []

        def fields() -> None:
            for name, now in (
                ("trials", budget.trials),
                ("epochs", budget.epochs),
                ("total_epochs", budget.total_epochs),
            ):
                box = ui.input(name.replace("_", " ")).props("inputmode=numeric")
                inputs[name] = hinted(box, f"now {now or 'without limit'}; empty: as it is")
            boxes.append(ui.checkbox(EXPORTS, value=True))

        async def act() -> str:
            given = whole_numbers({name: box.value for name, box in inputs.items()})
            await asyncio.to_thread(_check_budget, self.experiment, given)
            words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
            words += [NO_EXPORT for box in boxes if not box.value]
            return await self._start("resume", words)

        self.asking.ask(
            "Resume the search?",
            "It continues where it stopped. A larger budget extends it.",
            "Resume",
            act,
            fields,
        )

    def _ask_confirm(self) -> None:
        inputs: dict[str, ui.input] = {}

        def fields() -> None:
            top = ui.input("configs", value=str(CONFIRMED_CONFIGS)).props("inputmode=numeric")
            inputs["top"] = hinted(top, "the best so many")
            seeds = ui.input("seeds of each").props("inputmode=numeric")
            inputs["seeds"] = hinted(seeds, "empty: as the space says")

        async def act() -> str:
            given = whole_numbers({name: box.value for name, box in inputs.items()})
            return await self._start("confirm", [f"--{n}={v}" for n, v in given.items()])

        self.asking.ask(
            "Confirm the best configs?",
            "They are trained again with new seeds, to see which one is really better.",
            "Confirm",
            act,
            fields,
        )

    def _ask_export(self) -> None:
        self._ask_command(
            "export",
            "Export the best model?",
            f"It is written to {self.experiment.path / EXPORTED}; a model that is there is "
            "replaced.",
        )

    def _ask_report(self) -> None:
        path = self.experiment.path / REPORT
        self._ask_command("report", "Write the report?", f"It is written to {path}.")

    def _ask_command(self, command: str, title: str, words: str) -> None:
        async def act() -> str:
            return await self._start(command, [])

        self.asking.ask(title, words, command.capitalize(), act)

    async def _start(self, command: str, words: list[str]) -> str:
        name = self.experiment.name
        given = [name, *words, f"--root={self.actions.root}"]

        def act() -> str:
            if command != "report":
                self._check_idle(command)
            self.actions.jobs.start(name, command, given)
            return f"{command} of {name} has started; its output is below"

        return await self._perform(" ".join([command, *words]), act)

    def _check_idle(self, command: str) -> None:
        """Raise a `ConfigError` if the search runs, or writes its model after its end."""
        name, runs = self.experiment.name, lock_holder(self.experiment.path) is not None
        if runs and command != "export":
            raise ConfigError(f"{name} is running already")
        for job in self.actions.jobs.of(name):
            if not runs and job.action in ("search", "resume") and job.is_running:
                raise ConfigError(
                    f"{name}: `{job.action}` still runs, to write its result; wait until it has "
                    "ended"
                )


def _check_budget(experiment: Experiment, given: dict[str, int]) -> None:
    """Raise a `ConfigError`, as `resume` would, for a budget that is smaller or not possible."""
    from tune_encoder.tuning.extend import extended_space

    extended_space(experiment.space(), given)
