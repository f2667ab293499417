"""What every search promises of its record, whatever happens to it."""

from collections.abc import Iterator
from typing import NamedTuple

from tune_encoder.experiment.trials import TrialRecord

ENDED = ("COMPLETE", "PRUNED")
PROMISES = (
    "launch failed",
    "trial not ended",
    "config changed",
    "epoch lost or changed",
    "epoch counted twice",
    "finished trial repeated",
    "epoch redone beyond one a running trial",
)


class Problem(NamedTuple):
    """A promise that was not kept."""

    promise: str
    what: str


def broken_promises(before: list[TrialRecord], now: list[TrialRecord]) -> Iterator[Problem]:
    """Compare what stands in the record with what stood there before."""
    by_number = {trial.number: trial for trial in now}
    for old in before:
        new = by_number.get(old.number, TrialRecord(old.number, "absent"))
        if old.settings and new.settings != old.settings:
            yield Problem("config changed", f"{old.settings} became {new.settings}")
        if old.state in ENDED and new != old:
            yield Problem("finished trial repeated", f"{old} became {new}")
        if _losses(new)[: len(old.rows)] != _losses(old):
            yield Problem("epoch lost or changed", f"{_losses(old)} became {_losses(new)}")
    for trial in now:
        if [row["epoch"] for row in trial.rows] != list(range(1, len(trial.rows) + 1)):
            yield Problem("epoch counted twice", f"trial {trial.number}: {_losses(trial)}")
    orders = sorted(row["order"] for trial in now for row in trial.rows)
    if orders != list(range(len(orders))):
        yield Problem("epoch counted twice", f"rows came as {orders}")


def _losses(trial: TrialRecord) -> list[tuple[int, float]]:
    return [(row["epoch"], row["val_loss"]) for row in trial.rows]
