"""What may be done on the page: nothing if it is read-only, and everything is logged."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tune_encoder.errors import ConfigError, TuneEncoderError, error_line
from tune_encoder.serve.action_log import action_log
from tune_encoder.serve.jobs import Jobs

READ_ONLY = "this page only shows searches; start `tune-encoder serve` without --read-only"


class Actions:
    """Does what a person chose on the page, unless the page is read-only."""

    def __init__(self, root: Path, is_read_only: bool = False) -> None:
        self.root, self.is_read_only = root.absolute(), is_read_only
        self.jobs = Jobs(self.root)

    def check_allowed(self) -> None:
        """Raise a `ConfigError` if the page is read-only."""
        if self.is_read_only:
            raise ConfigError(READ_ONLY)

    async def perform(self, address: str, what: str, act: Callable[[], str]) -> str:
        """Do something that may take a moment, and log it.

        Args:
            address: From where it was asked.
            what: What is done, such as "pause mine".
            act: Does it, and returns what it did.

        Returns:
            What it did.

        Raises:
            ConfigError: if the page is read-only.
            TuneEncoderError, OSError: of `act`; the log has it, too.
        """
        self.check_allowed()
        return await asyncio.to_thread(self._perform, address, what, act)

    def _perform(self, address: str, what: str, act: Callable[[], str]) -> str:
        with action_log() as note:
            about = {"address": address, "root": str(self.root), "action": what}
            try:
                words = act()
            except (TuneEncoderError, OSError) as error:
                note({**about, "refused": error_line(error)})
                raise
            note({**about, "told": words})
            return words
