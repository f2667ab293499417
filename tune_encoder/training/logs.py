"""Logs of a run: metrics.jsonl, and TensorBoard's scalars and HParams."""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.config import to_mapping
from tune_encoder.experiment.epoch_row import EpochRow, score_of
from tune_encoder.space.listening import Listening
from tune_encoder.system.files import atomic_write
from tune_encoder.training.state import RunState

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

_HPARAM_METRICS = ("val_loss", "val_skill")


@dataclass(frozen=True)
class Logged:
    """What a run logs beside its losses and scores."""

    hparams: Collection[str] | None = None
    """Settings for TensorBoard's HParams tab; None: all."""
    measures: Collection[str] = ()
    """Quantities of the encoder that each row has too; see `measures.measure_encoder`."""
    listening: Listening | None = None
    """When `val_similarity` is measured, and how; None: rows do not have it."""


EVERY_SETTING = Logged()


def write_metrics(path: Path, history: list[EpochRow]) -> None:
    """Rewrite all rows, so that the file never has an epoch twice or half a line."""
    lines = (json.dumps(row, allow_nan=False) + "\n" for row in history)
    atomic_write(path, "".join(lines).encode())


@contextmanager
def tensorboard_log(
    log_dir: Path,
    state: RunState,
    hparam_names: Collection[str] | None = None,
    enabled: bool = True,
) -> Iterator[Callable[[EpochRow], None]]:
    """Yield a function that logs a row to TensorBoard, or does nothing if that is off.

    Args:
        log_dir: The folder of the event files.
        state: The run.
        hparam_names: Settings for the HParams tab, which orders columns by name; None: all.
        enabled: Whether this process writes.
    """
    if not (enabled and state.config.use_tensorboard):
        yield lambda row: None
        return
    from torch.utils.tensorboard.writer import SummaryWriter

    # Hides epochs that an interrupted run logged after its last checkpoint.
    with SummaryWriter(str(log_dir), purge_step=state.epoch + 1) as writer:
        _write_hparams(writer, state, hparam_names)
        yield lambda row: _write_row(writer, row)


def _write_hparams(
    writer: "SummaryWriter", state: RunState, hparam_names: Collection[str] | None
) -> None:
    """Declare settings and scores for the HParams tab; each epoch's row fills in the scores."""
    from torch.utils.tensorboard.summary import hparams

    settings = to_mapping(state.config)
    shown = settings if hparam_names is None else hparam_names
    settings = {name: settings[name] for name in shown}
    for summary in hparams(settings, dict.fromkeys(_HPARAM_METRICS, 0.0)):
        # The public `add_hparams` would write to a folder of its own, a second run in TensorBoard.
        writer._get_file_writer().add_summary(summary)


def _write_row(writer: "SummaryWriter", row: EpochRow) -> None:
    for name, value in row.items():
        if isinstance(value, float):
            split, _, kind = name.partition("_")
            tag = f"{split}/{kind}" if split in ("train", "val") else f"run/{name}"
            writer.add_scalar(tag, value, row["epoch"])
    for name in _HPARAM_METRICS:
        writer.add_scalar(name, score_of(row, name), row["epoch"])
    writer.flush()
