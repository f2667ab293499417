"""What a row means in a search: its objective, its values in Optuna, and its constraints there."""

from collections.abc import Mapping

from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from tune_encoder.config import MetricSettings
from tune_encoder.experiment.epoch_row import EpochRow, as_row, score_of
from tune_encoder.space import SearchSpace, excesses

_FIRST_REPORT_ONLY = ("worker", "attempt", "recorded_at")  # kept from the first report
_DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}


def directions(metric: MetricSettings) -> list[StudyDirection]:
    """Return the direction of each metric, for a study."""
    return [_DIRECTIONS[each] for each in metric.directions]


def rate_row(row: EpochRow, space: SearchSpace) -> None:
    """Write into a row what the search minimises, and how far it is beyond the constraints."""
    row.pop("violation", None)  # of an earlier training of the epoch
    row["objective"] = space.metric.sign * score_of(row, space.metric.name)
    beyond = sum(max(0.0, each) for each in excesses(space.constraints, {**row}).values())
    if beyond:
        row["violation"] = beyond


def merge_repeated(old: EpochRow, row: EpochRow) -> EpochRow:
    """Merge the rows of an epoch that was trained again, or only reported again.

    What only the first report has, such as the checkpoint, is kept.
    """
    was_trained = old.get("seconds") != row.get("seconds")
    clock = {} if was_trained else {n: value for n, value in old.items() if n in _FIRST_REPORT_ONLY}
    return as_row({**old, **row, **clock})


def row_values(row: EpochRow, space: SearchSpace) -> list[float]:
    """Return a row's value of each metric."""
    return [score_of(row, name) for name in space.metric.names]


def constraint_notes(known: Mapping[str, object], space: SearchSpace) -> dict[str, float]:
    """Return the notes by which Optuna knows a trial's excess over each limit that is known."""
    excess = excesses(space.constraints, known)
    return dict(create_trial(state=TrialState.FAIL, constraints=excess).system_attrs)
