"""The row of an epoch: its metrics and metadata, from the training loop to the report."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from typing_extensions import Required


class EpochRow(TypedDict, total=False):
    """One epoch of a run; a line of metrics.jsonl, and an attribute of a trial in the record.

    The training loop fills it up to `finished`; in a search the worker, the driver and the record
    add the rest. Only the first two keys are in every row: older searches wrote fewer, and a reader
    may request only some. Scores are over the whole validation split, or over all folds.
    """

    epoch: "Required[int]"
    """Counted from 1. Set by the training loop, like all keys up to `finished`."""
    val_loss: "Required[float]"
    """Loss on the validation voices, independent of the weights of the training loss."""
    val_loss_se: float
    """Standard error of the loss over voices or folds; absent if there is only one."""
    val_skill: float
    """Explained fraction of the variance between voices: 0 is the mean voice, 1 is perfect."""
    val_skill_se: float
    """Standard error of the skill over voices or folds; absent if there is only one."""
    val_skill_ttl: float
    """Skill of style_ttl."""
    val_skill_ttl_se: float
    """Standard error of `val_skill_ttl` over folds; only in a search over folds."""
    val_skill_dp: float
    """Skill of style_dp."""
    val_skill_dp_se: float
    """Standard error of `val_skill_dp` over folds; only in a search over folds."""
    val_centered_cosine: float
    """Mean cosine of deviations from the mean voice; 0 is chance."""
    val_retrieval: float
    """Fraction of clips whose nearest style, also of train, is that of their own voice."""
    val_retrieval_chance: float
    """Retrieval by chance: 1 / number of different styles that are searched."""
    val_cosine: float
    """Mean cosine similarity of predicted and true styles."""
    val_spread: float
    """Variance of the predictions, relative to that of the true styles."""
    val_ttl_mse: float
    """Mean squared error of an element of style_ttl."""
    val_dp_mse: float
    """Mean squared error of an element of style_dp."""
    train_loss: float
    """Mean training loss over the steps."""
    train_ttl: float
    """Its unweighted style_ttl term."""
    train_dp: float
    """Its unweighted style_dp term."""
    train_cosine: float
    """Mean cosine similarity of predicted and true styles of training clips."""
    gradient_norm: float
    """Mean over the steps that were not skipped, before clipping; 0 if there were none."""
    skipped_steps: int
    """Steps skipped because float16 overflowed."""
    learning_rate: float
    """Learning rate after the last step."""
    clips_per_s: float
    """Training crops per second, without validation."""
    seconds: float
    """Duration of the epoch, without saving the checkpoint."""
    step_seconds: float
    """Part of `seconds` in optimizer steps."""
    predict_seconds: float
    """Part of `seconds` in predicting the validation split."""
    score_seconds: float
    """Part of `seconds` in scoring the predictions."""
    parameters: int
    """Trainable parameters of the encoder; only where the search has a use for it."""
    clone_ms: float
    """Milliseconds to encode a clip on one thread; only where the search has a use for it."""
    val_similarity: float
    """Speaker similarity of speech in predicted and true styles, from 0 to 1; between two
    measurements that of the one before. Only where the search has a use for it."""
    finished: bool
    """Whether the run has reached its last epoch or its early-stopping patience."""
    checkpoint_sha256: str
    """SHA-256 of the checkpoint's file, in hexadecimal. Set by the worker."""
    checkpoint: str
    """LAUNCH/RUN/CHECKPOINT. Set by the driver, or with a checkpoint storage by the worker."""
    worker: str
    """HOST:PID of the worker that trained it. Set by the driver."""
    attempt: int
    """1, plus the number of times that Tune restarted the trial. Set by the driver."""
    recorded_at: float
    """When it reached the record, in seconds since 1970. Set by the driver."""
    order: int
    """Number of rows of the search recorded before it. Set by the record."""
    objective: float
    """What the search minimises, see `objective`. Set by the record."""
    violation: float
    """How far it is beyond the constraints; absent if it keeps them. Set by the record."""


_KINDS = {
    "epoch": int,
    "val_loss": float,
    **{name: kind for name, kind in EpochRow.__annotations__.items() if isinstance(kind, type)},
}


def checked_row(values: object, required: Sequence[str] = ()) -> EpochRow:
    """Cast values of a file to a row, after checking their types.

    Args:
        values: What the file has of an epoch.
        required: Fields that it must have, besides its number and its loss.

    Raises:
        ValueError: if they are not those of an epoch, naming the first that is wrong.
    """
    if not isinstance(values, dict):
        raise ValueError(f"an epoch is {values!r}")
    for name, value in values.items():
        kind = _KINDS.get(name)
        # A whole number may stand for any number, and SQLite has 0 and 1 for false and true.
        if kind and not isinstance(value, kind) and not (kind is not str and type(value) is int):
            raise ValueError(f"{name} of an epoch is {value!r}")
    loss = "objective" if "objective" in values else "val_loss"
    for name in ("epoch", loss, *required):
        if name not in values:
            raise ValueError(f"an epoch has no {name}")
    return as_row(values)


def as_row(values: Mapping[str, object]) -> EpochRow:
    """Cast stored values to a row."""
    return cast("EpochRow", values)


def score_of(row: EpochRow, name: str) -> float:
    """Return a score by name, such as the search's metric."""
    return cast("Mapping[str, float]", row)[name]


def objective(row: EpochRow) -> float:
    """Return what the search minimises: its metric, negated if higher is better.

    Rows of older versions have only the loss.
    """
    return float(row["objective"] if "objective" in row else row["val_loss"])


def keeps_constraints(row: EpochRow) -> bool:
    """Whether an epoch keeps the constraints of its search."""
    return not row.get("violation")


def rank(row: EpochRow) -> tuple[float, float]:
    """Return a key by which epochs are sorted: first those that keep the constraints."""
    return row.get("violation", 0.0), objective(row)


def validation_scores(row: EpochRow) -> dict[str, float]:
    """Return the validation scores, by names without the prefix `val_`."""
    split = "val_"
    return {n.removeprefix(split): score_of(row, n) for n in row if n.startswith(split)}
