"""What a person reads first: how good the winner is, whether to believe it, what it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tune_encoder.data.pack import PackedData
from tune_encoder.experiment.confirmation import Confirmation, standard_deviation, verdict
from tune_encoder.experiment.findings import Findings
from tune_encoder.experiment.status import format_counts
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Table, table
from tune_encoder.report.scores import Score, format_interval
from tune_encoder.system.formats import count_noun, format_clock


@dataclass(frozen=True)
class Headline:
    """The top of the page."""

    verdict: str
    cards: Sequence[tuple[str, str, str]]
    """Label, number, and what it means."""
    noise: str
    """How much of the score may be chance."""
    confirmed: Table | None
    rung_correlations: Sequence[str]
    warnings: Sequence[str]


def headline(
    facts: Facts,
    found: Sequence[Score],
    split: str,
    findings: Findings | None,
    confirmation: Confirmation | None,
) -> Headline:
    """Say the most important things of a search.

    Args:
        facts: The search.
        found: The winner and the baselines, if there is data to judge them by.
        split: The voices they were scored on.
        findings: What to think of it, if there is data to say so.
        confirmation: What further seeds gave, if they were trained.
    """
    return Headline(
        _verdict(facts, found, split),
        _cards(facts, found, split),
        _noise(facts, found, confirmation),
        _confirmed(confirmation) if confirmation else None,
        [str(each) for each in findings.rung_correlations] if findings else [],
        findings.warnings if findings else [],
    )


def _verdict(facts: Facts, found: Sequence[Score], split: str) -> str:
    best = facts.best
    if best is None or best.best is None:
        return _no_result(facts)
    which = f"Trial {best.number}, epoch {best.best['epoch']}"
    winner, *baselines = found[::-1]
    if not baselines:
        return f"{which} is the best, with a skill of {winner.skill:.3f} on the {split} voices."
    strongest = max(baselines, key=lambda each: each.skill)
    compared = "beats" if winner.skill > strongest.skill else "does not beat"
    return (
        f"{which} is the best. On the {split} voices it has a skill of {winner.skill:.3f}, which "
        f"{compared} the strongest baseline ({strongest.name}, {strongest.skill:.3f})."
    )


def _no_result(facts: Facts) -> str:
    if not facts.trials:
        return "No trial has begun yet."
    failed = sum(trial.state == "FAIL" for trial in facts.trials)
    if failed == len(facts.trials):
        trials = count_noun(failed, "trial")
        return f"{trials} failed and none gave a result; the reasons stand below."
    return "No trial has given a result yet."


def _cards(facts: Facts, found: Sequence[Score], split: str) -> list[tuple[str, str, str]]:
    status = facts.status
    time = status["time"]
    cards = []
    if found and facts.best is not None:
        winner = found[-1]
        cards.append(("skill", f"{winner.skill:.3f}", f"on {split} voices; 1 is perfect"))
    if facts.best is not None and facts.best.best is not None:
        row = facts.best.best
        words = f"validation, trial {facts.best.number} epoch {row['epoch']}"
        cards.append((facts.metric, f"{facts.value(row):.4g}", words))
    cards.append(("trials ended", str(status["trials_ended"]), format_counts(status)))
    cards.append(
        ("epochs", str(status["epochs"]), f"{status['epochs_saved']} saved by early stopping")
    )
    cards.append(("training", format_clock(time["training_s"]), "of all trials together"))
    return cards


def _noise(facts: Facts, found: Sequence[Score], confirmation: Confirmation | None) -> str:
    if facts.best is None:
        return ""
    interval = format_interval(found[-1]) if found else ""
    voices = (
        f"Over other voices of the same kind the skill would lie between {interval} in 95 % of "
        "cases (bootstrap over voices). "
        if interval
        else ""
    ).replace(" to ", " and ", 1)
    if confirmation is None:
        return (
            f"{voices}It was trained with one seed; to train it again with others, as said at the "
            "end of this page, tells how much of it is luck."
        )
    return f"{voices}Trained again with further seeds: {verdict(confirmation)}."


def _confirmed(confirmation: Confirmation) -> Table:
    columns = ["trial", "mean skill", "standard deviation", "lowest", "highest", "seeds"]
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


def data_table(facts: Facts, data: PackedData | None) -> Table:
    """Return what the search was made of: data, budget, versions."""
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
            f"{facts.metric}, {'low' if facts.space.metric.direction == 'min' else 'high'} is good",
        ],
        [
            "budget",
            f"{count_noun(space.budget.trials, 'trial')} of "
            f"{count_noun(space.budget.epochs, 'epoch')}",
        ],
        ["scheduler", space.scheduler.name],
        ["searcher", f"{space.searcher.name}, seed {space.searcher.seed}"],
        *([name, version] for name, version in facts.content["versions"].items()),
    ]
    return table(["", ""], [row for row in rows if row[1]])
