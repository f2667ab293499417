"""One training run: build or resume, loop over epochs, hand each epoch's row to `report`.

It knows no search. Everything random in an epoch comes from (seed, epoch), so a run resumed after
any epoch goes on exactly as if it had never stopped.
"""

from tune_encoder.trainer.epoch import batch_loss, hash_seed, predict, train_epoch
from tune_encoder.trainer.loop import Report, train, train_two_steps
from tune_encoder.trainer.parallel import Group, run_group
from tune_encoder.trainer.state import (
    Row,
    TrainState,
    amp_type,
    finished,
    learning_rate_factor,
    pick_device,
    start,
)

__all__ = [
    "Group",
    "Report",
    "Row",
    "TrainState",
    "amp_type",
    "batch_loss",
    "finished",
    "hash_seed",
    "learning_rate_factor",
    "pick_device",
    "predict",
    "run_group",
    "start",
    "train",
    "train_epoch",
    "train_two_steps",
]
