"""Why trials failed."""

from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Table, table
from tune_encoder.standing import FAILED

UNKNOWN = "no reason was recorded"


def failures(facts: Facts) -> Table | None:
    """Return each reason with its trials, the most frequent first; None if no trial failed."""
    by_reason: dict[str, list[int]] = {}
    for trial in facts.trials:
        if facts.how(trial) == FAILED:
            by_reason.setdefault(trial.reason or UNKNOWN, []).append(trial.number)
    if not by_reason:
        return None
    ordered = sorted(by_reason.items(), key=lambda entry: -len(entry[1]))
    rows = [[reason, len(numbers), ", ".join(map(str, numbers))] for reason, numbers in ordered]
    return table(["reason", "trials", "their numbers"], rows)
