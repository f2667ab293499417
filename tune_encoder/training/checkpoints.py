"""Checkpoints: written atomically, verified on loading.

torch loads most damaged files without an error; the hash in the manifest reveals the damage.
"""

import io
from collections.abc import Callable
from io import BufferedWriter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tune_encoder.errors import StorageError
from tune_encoder.experiment.epoch_row import checked_row
from tune_encoder.system.damage import refuse_damage
from tune_encoder.system.manifest import load_verified, manifest_epoch, write_with_hash
from tune_encoder.system.shortage import shortage

CHECKPOINT_FORMAT = 1

State = dict[str, Any]
_WORTH_HALVING = 10_000  # elements; of smaller tensors the names take more space
_KINDS = {"epoch": int, "config": dict, "data": dict, "history": list}


def save_state(path: Path, state: State) -> str:
    """Write `state` so that `path` is always absent, old, or complete.

    Args:
        path: The file; its folder is created if needed.
        state: Tensors and plain values only, with the number of finished epochs as "epoch".

    Returns:
        The file's SHA-256.
    """
    return write_with_hash(path, lambda file: write_state(file, state), state["epoch"])


def write_state(file: BufferedWriter, state: State) -> None:
    """Write the content of a checkpoint file.

    Raises:
        OSError: the system's error, such as a full disk.
    """
    try:
        torch.save({"format": CHECKPOINT_FORMAT, **_map_model(state, _halve)}, file)
    except RuntimeError as error:
        if error.__context__ is None:
            raise
        # The cause, such as a full disk or a signal: torch's writer then only reports that the
        # file has not grown as expected.
        raise error.__context__ from None


def load_state(path: Path) -> State:
    """Verify and load a checkpoint; nothing in it is executed.

    Raises:
        StorageError: if it is missing, unlisted, damaged, or of a newer format.
    """
    content = io.BytesIO(load_verified(path))
    with refuse_damage(lambda why: _not_a_checkpoint(path, why)):
        state: State = torch.load(content, "cpu", weights_only=True)  # noqa: TID251
        if int(state["format"]) <= CHECKPOINT_FORMAT:
            _check_state(state)
            return _map_model(state, _in_full)
    raise StorageError(
        f"{path}: written in format {state['format']}, this program reads up to "
        f"{CHECKPOINT_FORMAT}; update tune-encoder"
    )


def _map_model(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """The state with every tensor of its model changed."""
    if not isinstance(model := state.get("model"), dict):
        return state
    return {**state, "model": {name: change(tensor) for name, tensor in model.items()}}


def _halve(tensor: Tensor) -> Tensor:
    """A tensor in float16 if that loses nothing.

    So are the frozen ones that come from a pack, such as the basis, which is most of a small model.
    """
    if tensor.dtype != torch.float32 or tensor.numel() < _WORTH_HALVING:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor


def _in_full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _not_a_checkpoint(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path}: not a checkpoint, although the manifest lists it ({why}); give a .pt file"
    )


def _check_state(state: State) -> None:
    """Check what is read of every checkpoint; the optimizer checks the rest when it resumes."""
    for name, kind in _KINDS.items():
        if not isinstance(state[name], kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    for row in state["history"]:
        checked_row(row)


def newest_valid_checkpoint(paths: list[Path]) -> tuple[Path | None, State | None, list[str]]:
    """Return the newest checkpoint that passes verification, and the problems of newer ones.

    Args:
        paths: Checkpoint files, in any order.

    Raises:
        StorageError: if one cannot be read for what the machine is short of; it may be intact.
    """
    problems: list[str] = []
    for path in sorted(paths, key=manifest_epoch, reverse=True):
        try:
            return path, load_state(path), problems
        except StorageError as error:
            if shortage(str(error)):
                raise
            problems.append(str(error))
    return None, None, problems
