"""Asking once before something is done, and saying what was done or why not."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.serve.frame import heading, text

Act = Callable[[], Awaitable[str]]


class Asking:
    """A place of a page for its dialogs and for what they did."""

    def __init__(self) -> None:
        self._place = ui.element("div")
        self.said = text("", "said").props("role=status")

    def ask(
        self,
        title: str,
        words: str,
        verb: str,
        act: Act,
        fields: Callable[[], None] | None = None,
    ) -> None:
        """Open a dialog, and do what it asks if its reader agrees.

        Args:
            title: What is asked.
            words: What will happen.
            verb: What the button says that agrees.
            act: Does it, and returns what it did; the dialog stays open with its error,
                which the page says if it was closed meanwhile.
            fields: Adds what can be chosen.
        """
        with self._place, ui.dialog() as dialog, ui.card().classes("dialog"):
            heading(2, title)
            text(words)
            if fields is not None:
                fields()
            problem = text("", "problem").props("role=alert")
            problem.set_visibility(False)
            with ui.element("div").classes("answers"):
                ui.button("Cancel", on_click=dialog.close).props("flat no-caps")
                yes = ui.button(verb).props("no-caps unelevated")
        dialog.props["aria-label"] = title
        dialog.on("hide", dialog.delete)

        async def agree() -> None:
            yes.disable()
            try:
                words = await act()
            except (TuneEncoderError, OSError) as error:
                complain(error_line(error))
            else:
                if not dialog.is_deleted:
                    dialog.close()
                self.say(words)

        def complain(words: str) -> None:
            if dialog.is_deleted:  # its reader has closed it meanwhile
                self.say(words)
                return
            problem.set_text(words)
            problem.set_visibility(True)
            yes.enable()

        yes.on_click(agree)
        dialog.open()

    def say(self, words: str) -> None:
        """Say what was done; it stays until something else is."""
        self.said.set_text(words)


def client_address() -> str:
    """Return the address of the browser whose event is handled."""
    request = ui.context.client.request
    return request.client.host if request.client is not None else "unknown"
