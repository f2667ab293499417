"""Reading experiments while pages show them: once per refresh for all pages that are open."""

import asyncio
import importlib
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment.folder import open_experiment
from tune_encoder.report.facts import Facts, read_facts
from tune_encoder.serve.charts import Change, Options, changes, empty
from tune_encoder.serve.overview import Entry, Overview
from tune_encoder.serve.rating import WAITING, importance_bars
from tune_encoder.serve.trial_rows import TrialRow, trial_rows
from tune_encoder.serve.watched_experiment import WatchedExperiment

if TYPE_CHECKING:  # its module loads matplotlib
    from tune_encoder.serve.learning_curves import Curve

REFRESH_S = 1.0
OVERVIEW_S = 2.0
CLOCK_S = 10.0  # after which the time left of a search is told again, although nothing has changed
_RETRY_S = 2.0  # after which what could not be read is read again, although nothing has changed
# A figure that took long rests this many times what it took, so that all of them together take a
# small part of the time, however large the search.
REST = 20.0
LEAST_REST_S = 5.0  # of a figure
BUDGET_S = 0.03  # of a refresh, for figures that have rested; the others wait for the next refresh
_FIRST = "curves"  # of `figures`; it shows each new epoch, so it has its own rest and no budget
FIRST_REST_S = 2.0
_RATED = "importance"  # takes seconds, so nobody waits for it
_CLOSED_S = 60.0  # after the last page has closed, an experiment is forgotten

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Update:
    """What the pages of an experiment have to change."""

    facts: Facts | None
    """The search as it is now; None if it cannot be read."""
    charts: dict[str, Change] = field(default_factory=dict)
    """What `changes` returns of each figure that has changed, by its key."""
    rows: list[TrialRow] = field(default_factory=list)
    """Rows of the table of trials that are new or changed."""
    problem: str = ""
    """Why it cannot be read."""


Follower = Callable[[Update], None]


class Watched:
    """An experiment as all its pages show it."""

    def __init__(self, path: Path) -> None:
        self.experiment = WatchedExperiment(path)
        self.facts: Facts | None = None
        self.charts: dict[str, Options] = {_RATED: empty(WAITING)}
        self.rows: dict[int, TrialRow] = {}
        self.problem = ""
        self.followers: set[Follower] = set()
        self.lock = asyncio.Lock()
        self.asked_at = time.monotonic()
        self._stamp: object = None
        self._read_at = 0.0
        self._curves: dict[int, Curve] = {}
        self._outdated: set[str] = set()
        self._rests_until: dict[str, float] = {}
        self._rated: tuple[int, ...] = ()
        self._is_rating = False

    def refresh(self) -> Update | None:
        """Read what has changed since the last time; None if nothing has."""
        try:
            update = self._changes()
        except Exception as error:  # noqa: BLE001  (the other experiments have to be shown)
            known, self.problem = self.problem, self.experiment.problem_line(error)
            self.experiment = WatchedExperiment(self.experiment.path)  # nothing kept may be wrong
            return None if known == self.problem else Update(None, problem=self.problem)
        if update is None or not self.problem:
            return update
        self.problem = ""
        whole = {key: Change(options, {"notMerge": True}) for key, options in self.charts.items()}
        return Update(self.facts, whole, list(self.rows.values()))  # pages may lack a part

    def _changes(self) -> Update | None:
        known, self._stamp = self._stamp, None  # if the files cannot be asked, they are unknown
        self._stamp, now = self.experiment.stamp(), time.monotonic()
        if self._stamp != known or now - self._read_at > self._read_for_s():
            self._read_at = now
            return self._read()
        if self.facts is None or self.problem or not any(map(self._may_draw, self._outdated)):
            return None
        return Update(self.facts, dict(self._draw(self.facts, {*self._outdated})))

    def _read_for_s(self) -> float:
        """For how long a reading is good while no file changes."""
        if self.problem:
            return _RETRY_S
        return CLOCK_S if self.facts is not None and self.facts.is_running else math.inf

    def _read(self) -> Update:
        before, self.facts = self.facts, read_facts(self.experiment)
        old, self.rows = self.rows, trial_rows(self.facts, self.rows, before)
        changed = [row for number, row in self.rows.items() if old.get(number) != row]
        return Update(self.facts, dict(self._draw(self.facts)), changed)

    def _draw(
        self, facts: Facts, only: Collection[str] | None = None
    ) -> Iterator[tuple[str, Change]]:
        """Make figures that have rested, as far as there is time, and yield what has changed."""
        from tune_encoder.serve.figures import figures  # loads matplotlib

        spent = 0.0
        for key, draw in figures(facts, self._curves).items():
            if only is not None and key not in only:
                continue
            is_shown, is_first = key in self.charts, key == _FIRST
            if is_shown and (spent > BUDGET_S or not self._may_draw(key)):
                self._outdated.add(key)
                continue
            began = time.monotonic()
            options = draw(facts)
            took = time.monotonic() - began
            spent += 0.0 if is_first else took
            rest = FIRST_REST_S if is_first else max(REST * took, LEAST_REST_S)
            self._rests_until[key] = began + rest
            self._outdated.discard(key)
            old, self.charts[key] = self.charts.get(key), options
            change = changes(old, options) if old is not None else None
            if change is not None:
                yield key, change

    def _may_draw(self, key: str) -> bool:
        return self._rests_until.get(key, 0.0) <= time.monotonic()

    async def rate(self) -> Update | None:
        """Rate the settings again if more trials have ended; None if it is not time for that."""
        facts, began = self.facts, time.monotonic()
        if facts is None or self._is_rating or not self._may_draw(_RATED):
            return None
        ended = (facts.status["trials_ended"], len(facts.trials))
        if ended == self._rated:
            return None
        self._is_rating, self._rated = True, ended
        try:
            options = await asyncio.to_thread(importance_bars, self.experiment)
        finally:
            self._is_rating = False
            self._rests_until[_RATED] = began + REST * (time.monotonic() - began)
        change, self.charts[_RATED] = changes(self.charts[_RATED], options), options
        return None if change is None else Update(self.facts, {_RATED: change})

    def tell(self, update: Update | None) -> None:
        """Tell the pages of an update, if there is one."""
        if update is not None:
            _tell(self.followers, update)

    @property
    def is_idle(self) -> bool:
        """Whether its last page closed long ago."""
        return not self.followers and time.monotonic() - self.asked_at > _CLOSED_S


class Watch:
    """All experiments of a root that pages show, read in one place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.overview = Overview(root)
        self.overview_followers: set[Callable[[list[Entry]], None]] = set()
        self._watched: dict[str, Watched] = {}
        self._ratings: set[asyncio.Task[None]] = set()

    async def open(self, name: str) -> Watched:
        """Return an experiment, as it is now.

        Raises:
            ConfigError: if it does not exist.
            TuneEncoderError: if it cannot be read.
        """
        experiment = open_experiment(self.root, name)
        watched = self._watched.setdefault(name, Watched(experiment.path))
        watched.asked_at = time.monotonic()
        await self._refresh(watched)
        if watched.facts is None or watched.problem:
            raise TuneEncoderError(watched.problem)
        return watched

    async def entries(self) -> list[Entry]:
        """Return all experiments of the root, as they are now."""
        return await asyncio.to_thread(self.overview.read)

    async def run(self) -> None:
        """Refresh what pages show, until cancelled, after loading what the first page needs."""
        told_at = 0.0
        await asyncio.to_thread(importlib.import_module, "tune_encoder.serve.figures")
        while True:
            await asyncio.sleep(REFRESH_S)
            for name, watched in list(self._watched.items()):
                if watched.followers:
                    await self._refresh(watched)
                    task = asyncio.create_task(self._rate(watched))
                    self._ratings.add(task)
                    task.add_done_callback(self._ratings.discard)
                elif watched.is_idle:
                    del self._watched[name]
            if self.overview_followers and time.monotonic() - told_at > OVERVIEW_S:
                told_at = await self._tell_overview()

    async def _tell_overview(self) -> float:
        """Tell the pages of all experiments; when it was done, for the time until the next."""
        try:
            _tell(self.overview_followers, await self.entries())
        except Exception:  # noqa: BLE001  (the next time they may be)
            _log.exception("the experiments of %s could not be listed", self.root)
        return time.monotonic()

    async def _refresh(self, watched: Watched) -> None:
        """Read an experiment, and tell its pages, all of which show the state before."""
        async with watched.lock:
            update = await asyncio.to_thread(watched.refresh)
        watched.tell(update)

    async def _rate(self, watched: Watched) -> None:
        watched.tell(await watched.rate())


def _tell(followers: Iterable[Callable[[T], None]], news: T) -> None:
    """Tell all pages, also after one that fails."""
    for follower in list(followers):
        try:
            follower(news)
        except Exception:  # noqa: BLE001  (the others follow the same news)
            _log.exception("a page could not be changed")
