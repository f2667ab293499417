"""The top of the page: score of the winner, its reliability, and the cost of the search."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tune_encoder.config import BudgetSettings
from tune_encoder.data.pack import PackedData
from tune_encoder.data.score_words import compare_skills
from tune_encoder.experiment.confirmation import Confirmation, standard_deviation, verdict
from tune_encoder.experiment.epoch_row import EpochRow, score_of
from tune_encoder.experiment.findings import Findings
from tune_encoder.experiment.status import format_counts
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Table, table
from tune_encoder.report.scores import Scores
from tune_encoder.system.formats import count_noun, format_clock


@dataclass(frozen=True)
class Headline:
    """The top of the page."""

    verdict: str
    cards: Sequence[tuple[str, str, str]]
    """Label, number, and its meaning."""
    noise: str
    """The uncertainty of the score."""
    confirmed: Table | None
    rung_correlations: Sequence[str]
    warnings: Sequence[str]


def headline(
    facts: Facts,
    found: Scores,
    findings: Findings | None,
    confirmation: Confirmation | None,
) -> Headline:
    """Summarise a search.

    Args:
        facts: The search.
        found: Scores of the winner and the baselines, if available.
        findings: Checks of the result, if available.
        confirmation: The result over further seeds, if they were trained.
    """
    return Headline(
        _verdict(facts, found),
        _cards(facts, found),
        _noise(facts, found, confirmation),
        _confirmed(confirmation, facts.skill_name) if confirmation else None,
        [str(each) for each in findings.rung_correlations] if findings else [],
        findings.warnings if findings else [],
    )


def _verdict(facts: Facts, found: Scores) -> str:
    best = facts.best
    if best is None or best.best is None:
        return _no_result(facts)
    which = f"Trial {best.number}, epoch {best.best['epoch']}"
    winner, *baselines = found.bars[::-1]
    skill = f"{found.skill_name} of {winner.skill:.3f}"
    if not baselines:
        return f"{which} is the best, with a {skill} on the {found.split} voices."
    strongest = max(baselines, key=lambda each: each.skill)
    compared = compare_skills(winner.skill, strongest.skill)
    mean = "; the mean voice would have been better" if winner.skill < 0 else ""
    return (
        f"{which} is the best. On the {found.split} voices it has a {skill}, which {compared} the "
        f"strongest baseline ({strongest.name}, {strongest.skill:.3f}){mean}.{_export(found)}"
    )


def _export(found: Scores) -> str:
    if found.exported is None:
        return ""
    how = f", {found.exported_how}," if found.exported_how else ""
    return f" The exported model{how} has {found.exported.skill:.3f}."


def _no_result(facts: Facts) -> str:
    if not facts.trials:
        return "No trial has started yet."
    failed = sum(trial.state == "FAIL" for trial in facts.trials)
    if failed == len(facts.trials):
        trials = count_noun(failed, "trial")
        return f"{trials} failed and none has a result; see the reasons below."
    return "No trial has a result yet."


def _cards(facts: Facts, found: Scores) -> list[tuple[str, str, str]]:
    status = facts.status
    time = status["time"]
    cards = []
    if found.bars and facts.best is not None:
        winner = found.bars[-1]
        words = f"on {found.split} voices; 1 is perfect"
        cards.append((found.skill_name, f"{winner.skill:.3f}", words))
        if found.exported is not None:
            words = f"of the exported model, on {found.split} voices"
            cards.append((found.skill_name, f"{found.exported.skill:.3f}", words))
    if facts.best is not None and facts.best.best is not None:
        row = facts.best.best
        words = f"validation, trial {facts.best.number} epoch {row['epoch']}{_error(facts, row)}"
        cards.append((facts.metric, f"{facts.value(row):.4g}", words))
    cards.append(("trials ended", str(status["trials_ended"]), format_counts(status)))
    cards.append(
        ("epochs", str(status["epochs"]), f"{status['epochs_saved']} saved by early stopping")
    )
    cards.append(("training", format_clock(time["training_s"]), "of all trials together"))
    return cards


def _error(facts: Facts, row: EpochRow) -> str:
    """The standard error of the metric over voices, if it was recorded."""
    name = f"{facts.metric}_se"
    return f", standard error {score_of(row, name):.2g} over voices" if name in row else ""


def _noise(facts: Facts, found: Scores, confirmation: Confirmation | None) -> str:
    if facts.best is None:
        return ""
    interval = found.interval_words
    voices = f"{found.skill_name.capitalize()}: {interval}. " if interval else ""
    if confirmation is None:
        return (
            f"{voices}It was trained with one seed; train it again with further seeds, with the "
            "command at the end of this page, to see how much of the score is chance."
        )
    return f"{voices}Over further seeds: {verdict(confirmation)}."


def _confirmed(confirmation: Confirmation, skill: str) -> Table:
    columns = ["trial", f"mean {skill}", "standard deviation", "lowest", "highest", "seeds"]
    rows = [
        [
            config.trial,
            fmean(config.skills),
            standard_deviation(config.skills),
            min(config.skills),
            max(config.skills),
            len(config.seeds),
        ]
        for config in confirmation.configs
    ]
    return table(columns, rows)


def _budget(budget: BudgetSettings) -> str:
    trials = count_noun(budget.trials, "trial") if budget.trials else "trials"
    total = f", {count_noun(budget.total_epochs, 'epoch')} in all" if budget.total_epochs else ""
    return f"{trials} of {count_noun(budget.epochs, 'epoch')}{total}"


def _constraints(facts: Facts) -> str:
    broken, refused = facts.status["constraints_broken"], facts.status["trials"]["refused"]
    if broken is None:
        return ""
    limits = "; ".join(f"{each}" for each in facts.space.constraints)
    return f"{limits}; broken by {count_noun(broken, 'trial')}, {refused} of them not trained"


def data_table(facts: Facts, data: PackedData | None) -> Table:
    """Return data, budget and versions of the search."""
    clips = ", ".join(f"{n} {name}" for name, n in (data.info["clips"] if data else {}).items())
    voices = ", ".join(f"{n} {name}" for name, n in (data.info["voices"] if data else {}).items())
    space = facts.space
    rows = [
        ["data", facts.content["data_dir"]],
        ["fingerprint", facts.content["fingerprint"][:16]],
        ["clips", clips],
        ["voices", voices],
        [
            "metric",
            f"{facts.metric}, {'lower' if facts.space.metric.direction == 'min' else 'higher'} is "
            "better",
        ],
        ["second metric", space.metric.second or ""],
        ["constraints", _constraints(facts)],
        ["budget", _budget(space.budget)],
        ["scheduler", space.scheduler.name],
        ["searcher", f"{space.searcher.name}, seed {space.searcher.seed}"],
        *([name, version] for name, version in facts.content["versions"].items()),
    ]
    return table(["", ""], [row for row in rows if row[1]])
