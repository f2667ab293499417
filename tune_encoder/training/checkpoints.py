"""Checkpoints that are complete or absent, and verified before they are believed.

torch reads a damaged file without complaint in most cases; the hash in the manifest does not.
"""

import io
import pickle
from io import BufferedWriter
from pathlib import Path
from typing import Any

import torch

from tune_encoder.errors import StorageError
from tune_encoder.system.manifest import load_verified, manifest_epoch, write_with_hash

CHECKPOINT_FORMAT = 1

State = dict[str, Any]


def save_state(path: Path, state: State) -> str:
    """Write `state` so that `path` is always absent, old, or complete.

    Args:
        path: The file; its folder is made if need be.
        state: Tensors and plain values only, with the number of finished epochs as "epoch".

    Returns:
        The file's SHA-256.
    """
    return write_with_hash(path, lambda file: write_state(file, state), state["epoch"])


def write_state(file: BufferedWriter, state: State) -> None:
    """Write the content of a checkpoint file.

    Raises:
        OSError: what the system said, such as of a full disk.
    """
    try:
        torch.save({"format": CHECKPOINT_FORMAT, **state}, file)
    except RuntimeError as error:
        if error.__context__ is None:
            raise
        # What stopped the writing, as a full disk or a signal: torch's writer, as it is left,
        # finds that the file has not grown as it should.
        raise error.__context__ from None


def load_state(path: Path) -> State:
    """Verify and read a checkpoint; nothing in it is executed.

    Raises:
        StorageError: if it is missing, unlisted, damaged, or of a newer format.
    """
    content = io.BytesIO(load_verified(path))
    try:
        state: State = torch.load(content, "cpu", weights_only=True)  # noqa: TID251
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise StorageError(
            f"{path}: no checkpoint, though it is listed; name a .pt file"
        ) from error
    if state["format"] > CHECKPOINT_FORMAT:
        raise StorageError(
            f"{path}: written in format {state['format']}, this program reads up to "
            f"{CHECKPOINT_FORMAT}; update tune-encoder"
        )
    return state


def newest_valid_checkpoint(paths: list[Path]) -> tuple[Path | None, State | None, list[str]]:
    """Return the checkpoint of the most epochs that verifies, and what was wrong with later ones.

    Args:
        paths: Checkpoint files, in any order.
    """
    problems: list[str] = []
    for path in sorted(paths, key=manifest_epoch, reverse=True):
        try:
            return path, load_state(path), problems
        except StorageError as error:
            problems.append(str(error))
    return None, None, problems
