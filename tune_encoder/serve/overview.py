"""All experiments of a root, each read again only when its files have changed."""

import threading
from dataclasses import dataclass
from pathlib import Path

from tune_encoder.data.score_words import skill_name
from tune_encoder.experiment.folder import Experiment, list_experiments
from tune_encoder.experiment.run_status import RUNNING
from tune_encoder.experiment.status import format_score
from tune_encoder.experiment.views import UNREADABLE, ExperimentStatus, status
from tune_encoder.serve.watched_experiment import WatchedExperiment
from tune_encoder.system.formats import count_noun, format_duration
from tune_encoder.system.lock import Process


@dataclass(frozen=True)
class Entry:
    """What is shown of an experiment; of one that cannot be read only its name and why."""

    name: str
    state: str
    """running, stopped, finished or unreadable."""
    progress: float | None = None
    """Share of the budget that is used, from 0 to 1; None if it has no limit."""
    done: str = ""
    """What is done of the budget, such as "12 of 40 trials"."""
    best: str = ""
    baseline: str = ""
    """The strongest baseline, on the voices of the best score; empty if unknown."""
    left: str = ""
    """Estimated time left; empty if unknown."""
    who: str = ""
    """The process that runs it."""
    problem: str = ""
    """Why it cannot be read."""


class Overview:
    """Reads the experiments of a root again and again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[object, Entry]] = {}
        self._running: dict[str, WatchedExperiment] = {}
        """Kept between two readings, as they change; of others only the entry is kept."""
        self._lock = threading.Lock()

    def read(self) -> list[Entry]:
        """Return an entry for each experiment, the running ones first, else by name."""
        with self._lock:  # each page reads it in a thread of its own
            found = {each.name: self._entry(each) for each in list_experiments(self.root)}
            self._known = {name: known for name, known in self._known.items() if name in found}
        return sorted(found.values(), key=lambda entry: (entry.state != RUNNING, entry.name))

    def _entry(self, each: Experiment) -> Entry:
        experiment = self._running.get(each.name) or WatchedExperiment(each.path)
        stamp, known = None, self._known.get(each.name)
        try:
            stamp = experiment.stamp()
            if known and known[0] == stamp and known[1].state not in (RUNNING, UNREADABLE):
                return known[1]
            entry = _described(status(experiment))
        except Exception as error:  # noqa: BLE001  (the others have to be shown)
            entry = Entry(each.name, UNREADABLE, problem=experiment.problem_line(error))
        self._known[each.name] = stamp, entry
        self._running.pop(each.name, None)
        if entry.state == RUNNING:
            self._running[each.name] = experiment
        return entry


def _described(view: ExperimentStatus) -> Entry:
    left = view["time"]["left_s"]
    progress, done = share_done(view)
    best = view["best"]
    return Entry(
        view["name"],
        view["state"],
        progress,
        done,
        format_score(best) if best is not None else "",
        describe_baseline(view),
        format_duration(left) if left is not None else "",
        describe_process(view["process"]),
    )


def share_done(view: ExperimentStatus) -> tuple[float | None, str]:
    """Return the share of the budget that is used, by its nearer limit, and words for it."""
    ended, epochs = view["trials_ended"], view["epochs"]
    limits = [
        (done, limit, noun)
        for done, limit, noun in (
            (ended, view["trials_budget"], "trial"),
            (epochs, view["epochs_budget"], "epoch"),
        )
        if limit
    ]
    if not limits:
        return None, f"{count_noun(ended, 'trial')}, {count_noun(epochs, 'epoch')}"
    done, limit, noun = max(limits, key=lambda each: each[0] / each[1])
    return min(1.0, done / limit), f"{done} of {count_noun(limit, noun)}"


def describe_baseline(view: ExperimentStatus) -> str:
    """Name the strongest baseline with its skill; empty if it is unknown."""
    baseline = view["baseline"]
    if baseline is None:
        return ""
    return f"{baseline['name']}: {skill_name(view['voices'])} {baseline['skill']:.3f}"


def describe_process(process: Process | None) -> str:
    """Say which process runs a search; empty if none does."""
    if process is None:
        return ""
    if process["pid"] is None:
        return "a process that has just started"
    return f"process {process['pid']} on {process['host']}"
