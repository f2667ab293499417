"""The contents of the page, by section; a missing part is replaced by its reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tune_encoder.config import write_yaml
from tune_encoder.data.pack import PackedData
from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment.commands import clone_line, curves_line
from tune_encoder.experiment.confirmation import Confirmation, newest_confirmation
from tune_encoder.experiment.findings import assess_search
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.run_status import RUNNING, STOPPED
from tune_encoder.report.comparison import compared_curves, compared_settings
from tune_encoder.report.curves import learning_curves
from tune_encoder.report.facts import Facts, failure_table, read_facts
from tune_encoder.report.figure import Figure, Table
from tune_encoder.report.front import front
from tune_encoder.report.gains import expected_gains
from tune_encoder.report.headline import Headline, data_table, headline
from tune_encoder.report.importances import importance_bars
from tune_encoder.report.parallel import parallel_coordinates
from tune_encoder.report.progress import best_over_epochs, best_over_time
from tune_encoder.report.rungs import rung_bars
from tune_encoder.report.scores import baselines, score_bars, scores
from tune_encoder.report.slices import slices
from tune_encoder.report.timeline import timeline
from tune_encoder.report.winner import read_data
from tune_encoder.system.formats import count_noun

if TYPE_CHECKING:
    from tune_encoder.report.clips import Clip
    from tune_encoder.report.listen.card import Card
    from tune_encoder.report.winner import Exported, Winner

T = TypeVar("T")


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    key: str
    title: str
    figures: Sequence[Figure] = ()
    table: Table | None = None
    text: str = ""
    notes: Sequence[str] = ()
    """What is missing, and why."""
    clips: Sequence[tuple[str, "Sequence[Clip]"]] = ()
    """Groups of clips, each with its heading."""
    heard: "Sequence[Card]" = ()
    """Voices and what is spoken in their predicted styles."""


@dataclass
class Contents:
    """All contents of the page."""

    facts: Facts
    headline: Headline
    sections: list[Section]
    data: Table
    config: str
    """The winner's settings in YAML; empty if there is no winner."""
    commands: list[tuple[str, str]]
    """What a command does, and the command line."""


@dataclass
class _Parts:
    """The data read for the page."""

    facts: Facts
    data: PackedData | None = None
    winner: "Winner | None" = None
    exported: "Exported | None" = None
    notes: list[str] = field(default_factory=list)
    """Why a part is missing."""

    def attempt(self, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except TuneEncoderError as error:
            self.notes.append(str(error))
            return None


def read_contents(experiment: Experiment, compared: Sequence[Experiment] = ()) -> Contents:
    """Read a search, which may be running, and make all figures and tables.

    Raises:
        ConfigError, StorageError: if its own files are damaged; if only the data is missing, the
            parts that need it say so.
    """
    facts = read_facts(experiment)
    parts = _Parts(facts)
    parts.data = data = parts.attempt(lambda: read_data(facts))
    if data is not None and facts.best is not None:
        _evaluate(parts, data)
    found = scores(facts, parts.data, parts.winner, parts.exported)
    known, voices = baselines(facts, data), facts.status["voices"]
    findings = assess_search(facts.trials, facts.space, known, voices) if known else None
    confirmation, doubts = _confirmation(experiment)
    unread = parts.notes if parts.winner is not None else []  # else they explain why not
    sections = [
        Section("scores", "Result", [score_bars(found)], notes=[*doubts, *unread]),
        Section(
            "learning",
            "Progress",
            [
                learning_curves(facts),
                best_over_epochs(facts),
                best_over_time(facts),
                *expected_gains(facts),
            ],
        ),
        *_front_sections(facts),
        Section("settings", "Settings", [importance_bars(facts), parallel_coordinates(facts)]),
        Section("slices", "Each setting", slices(facts)),
        Section("budget", "Budget", [rung_bars(facts), timeline(facts)]),
        Section("failures", "Failures", table=failure_table(facts), text=_failure_text(facts)),
        *_winner_sections(parts),
        *_listen_sections(parts),
        *_compared_sections(facts, compared),
    ]
    return Contents(
        facts,
        headline(facts, found, findings, confirmation),
        sections,
        data_table(facts, parts.data),
        write_yaml(dict(facts.best.settings)) if facts.best else "",
        commands(facts),
    )


def _evaluate(parts: _Parts, data: PackedData) -> None:
    from tune_encoder.report.winner import evaluate_export, evaluate_winner  # loads torch

    parts.winner = winner = parts.attempt(lambda: evaluate_winner(parts.facts, data))
    if winner is not None:
        parts.exported = parts.attempt(lambda: evaluate_export(parts.facts, winner))


def _confirmation(experiment: Experiment) -> tuple[Confirmation | None, list[str]]:
    """The newest confirmation, or why there is none."""
    try:
        return newest_confirmation(experiment), []
    except TuneEncoderError as error:
        return None, [str(error)]


def _failure_text(facts: Facts) -> str:
    failed = sum(trial.state == "FAIL" for trial in facts.trials)
    return f"{failed} of {count_noun(len(facts.trials), 'trial')} failed." if failed else "None."


def _winner_sections(parts: _Parts) -> list[Section]:
    winner = parts.winner
    if winner is None:
        why = parts.notes or ["There is no winner yet."]
        return [Section("winner", "Errors of the winner", notes=why)]
    from tune_encoder.report.errors import component_scatters, row_bars, voice_dots

    figures = [voice_dots(winner), *component_scatters(winner), *row_bars(winner)]
    return [Section("winner", "Errors of the winner", figures), _clips_section(parts, winner)]


def _clips_section(parts: _Parts, winner: "Winner") -> Section:
    from tune_encoder.report.clips import best_and_worst, make_clips, sample_files

    missing = _Parts(parts.facts)
    files = missing.attempt(lambda: sample_files(parts.facts, winner)) or []
    best, worst = best_and_worst(list(winner.voices()))
    groups = [("Best", best), ("Worst", worst)]
    clips = [(name, make_clips(winner, voices, files)) for name, voices in groups if voices]
    title = f"Best and worst {winner.split} voices"
    return Section("clips", title, notes=missing.notes, clips=clips)


def _listen_sections(parts: _Parts) -> list[Section]:
    """Speech in the winner's styles, if the space asks for it, or why there is none."""
    if not parts.facts.space.report.listen:
        return []
    winner, title = parts.winner, "Listening test"
    if winner is None:
        return [Section("listen", title, notes=["There is no winner to listen to."])]
    from tune_encoder.report.listen.winner import winner_cards

    missing = _Parts(parts.facts)
    cards, notes = missing.attempt(lambda: winner_cards(parts.facts, winner)) or ([], [])
    return [Section("listen", title, notes=[*missing.notes, *notes], heard=cards)]


def _front_sections(facts: Facts) -> list[Section]:
    return [Section("front", "Two metrics", [front(facts)])] if facts.space.metric.second else []


def _compared_sections(facts: Facts, compared: Sequence[Experiment]) -> list[Section]:
    if not compared:
        return []
    searches = [facts, *(read_facts(experiment) for experiment in compared)]
    settings, warnings = compared_settings(searches)
    figures = [compared_curves(searches)]
    return [
        Section("comparison", "Comparison with other searches", figures, settings, notes=warnings)
    ]


def commands(facts: Facts) -> list[tuple[str, str]]:
    """Return the useful next commands."""
    command, path = facts.experiment.command, facts.experiment.path
    state = facts.status["state"]
    next_steps: list[tuple[str, str]] = {
        RUNNING: [
            ("watch the search", f"{command('status')} --watch"),
            ("stop it", command("stop")),
        ],
        STOPPED: [("resume the search", command("resume"))],
    }.get(state, [("try more configs", f"{command('resume')} {_more(facts)}")])
    if facts.best is None:
        return next_steps
    return [
        *next_steps,
        ("train the best configs again with further seeds", command("confirm")),
        ("export the best model", command("export")),
        ("clone a voice with it", clone_line(path / "best")),
        ("show all curves in TensorBoard", curves_line(path)),
        ("write this report again", command("report")),
    ]


def _more(facts: Facts) -> str:
    budget = facts.space.budget
    if budget.trials:
        return f"--trials {2 * budget.trials}"
    return f"--total-epochs {2 * budget.total_epochs}"
