"""The button that ends a trial, on its page."""

from nicegui import ui

from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.status import WAITING
from tune_encoder.experiment.steering import kill_trial
from tune_encoder.serve.actions import Actions
from tune_encoder.serve.dialog import Asking, client_address

ENDS = "It ends after its current epoch and is not tried again; the others continue."
"""What a person is told before."""


class StopTrial:
    """A button that ends a trial, as long as it has not ended and its search runs."""

    def __init__(self, actions: Actions, experiment: Experiment, number: int) -> None:
        """Lay it out."""
        self.actions, self.experiment, self.number = actions, experiment, number
        with ui.element("div").classes("buttons"):
            self.button = ui.button("Stop this trial", on_click=self._ask).props("outline no-caps")
        self.asking = Asking()

    def show(self, state: str, is_running: bool) -> None:
        """Show the button if the trial has not ended, and its search is running."""
        self.button.set_visibility(is_running and state in ("running", WAITING))

    def _ask(self) -> None:
        what = f"{self.experiment.name}: kill-trial {self.number}"

        async def act() -> str:
            return await self.actions.perform(
                client_address(), what, lambda: kill_trial(self.experiment, self.number)
            )

        self.asking.ask(f"Stop trial {self.number}?", ENDS, "Stop the trial", act)
