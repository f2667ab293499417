"""The row of an epoch: what is known of it, from the training loop to the page of the report."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from typing_extensions import Required


class EpochRow(TypedDict, total=False):
    """One epoch of a run; a line of metrics.jsonl, and an attribute of a trial in the record.

    The training loop fills it up to `finished`; in a search the worker, the driver and the record
    add the rest on its way. Only the first two are in every row: older searches wrote less, and
    whoever reads the record may ask for a few keys. Scores are of the whole validation split.
    """

    epoch: "Required[int]"
    """Counted from 1. By the training loop, as all up to `finished`."""
    val_loss: "Required[float]"
    """Loss on the validation voices, the same whatever the weights of the training loss."""
    val_skill: float
    """Share of the variance between voices that is explained: 0 the mean voice, 1 perfect."""
    val_skill_ttl: float
    """Of style_ttl alone."""
    val_skill_dp: float
    """Of style_dp alone."""
    val_centered_cosine: float
    """Mean cosine of deviations from the mean voice; 0 is chance."""
    val_retrieval: float
    """Share of clips, from 0 to 1, whose nearest style is that of their own voice."""
    val_cosine: float
    """Mean cosine of the styles themselves."""
    val_spread: float
    """Variance of the predictions, as a share of that of the true styles."""
    val_ttl_mse: float
    """Mean squared error of an element of style_ttl."""
    val_dp_mse: float
    """Mean squared error of an element of style_dp."""
    train_loss: float
    """Mean over the steps of what the optimizer makes small."""
    train_ttl: float
    """Its part of style_ttl, before its weight."""
    train_dp: float
    """Its part of style_dp, before its weight."""
    train_cosine: float
    """Mean cosine of predicted and true styles of training clips."""
    gradient_norm: float
    """Mean over the steps that were taken, before clipping; 0 if none was."""
    skipped_steps: int
    """Steps not taken, because float16 overflowed."""
    learning_rate: float
    """After the last step."""
    clips_per_s: float
    """Training clips a second, without validation."""
    seconds: float
    """Of the whole epoch, without saving it."""
    step_seconds: float
    """Seconds of `seconds` in optimizer steps."""
    predict_seconds: float
    """Seconds of `seconds` in predicting the validation split."""
    score_seconds: float
    """Seconds of `seconds` in scoring what was predicted."""
    finished: bool
    """Whether the run has used up its epochs or its patience."""
    checkpoint_sha256: str
    """Of the checkpoint's file, in hexadecimal. By the worker."""
    checkpoint: str
    """LAUNCH/RUN/CHECKPOINT. By the driver, or by the worker where checkpoints have a storage."""
    worker: str
    """HOST:PID of who trained it. By the driver."""
    attempt: int
    """1, and one more for each time that Tune started the trial again. By the driver."""
    recorded_at: float
    """When it reached the record, in seconds since 1970. By the driver."""
    order: int
    """How many rows of the search were recorded before it. By the record."""
    objective: float
    """What the search makes small, see `objective`. By the record."""


def as_row(values: Mapping[str, object]) -> EpochRow:
    """Take values under a row's names, as they were written, for a row."""
    return cast("EpochRow", values)


def score_of(row: EpochRow, name: str) -> float:
    """Return the score that has a name, such as that of a search's metric."""
    return cast("Mapping[str, float]", row)[name]


def objective(row: EpochRow) -> float:
    """What a search makes small: the metric of its space, negated if that is to be large.

    Rows from before a space could name its metric have only the loss.
    """
    return float(row["objective"] if "objective" in row else row["val_loss"])


def validation_scores(row: EpochRow) -> dict[str, float]:
    """Return what was measured on the validation voices, without `val_` before the names."""
    split = "val_"
    return {n.removeprefix(split): score_of(row, n) for n in row if n.startswith(split)}
