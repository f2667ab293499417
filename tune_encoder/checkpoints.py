"""Checkpoints that are complete or absent, and verified before they are believed.

A folder of checkpoints has one `manifest.json` with a SHA-256 per file. The manifest is written
before a file is moved into place and names both its old and its new hash, so at no moment is a
good file without one. torch reads a damaged file without complaint in most cases; the hash does
not.
"""

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from tune_encoder.errors import StorageError
from tune_encoder.files import sync_folder, write_beside, write_whole

CHECKPOINT_FORMAT = 1
MANIFEST = "manifest.json"

State = dict[str, Any]


def save_state(path: Path, state: State) -> str:
    """Write `state` so that `path` is always absent, old, or complete.

    Args:
        path: The file; its folder is made if need be.
        state: Tensors and plain values only, with the number of finished epochs as "epoch".

    Returns:
        The file's SHA-256.
    """
    buffer = io.BytesIO()
    torch.save({"format": CHECKPOINT_FORMAT, **state}, buffer)
    return save_listed(path, buffer.getvalue(), state["epoch"])


def save_listed(path: Path, content: bytes, epoch: int) -> str:
    """Write a file and its hash into the manifest beside it; see `save_state`."""
    sha256 = hashlib.sha256(content).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = _read_manifest(path.parent)
    hashes = [sha256, *_vouched_hash(path, manifest)]
    manifest["files"][path.name] = {"epoch": epoch, "sha256": hashes}
    partial = write_beside(path, content)
    write_whole(path.parent / MANIFEST, json.dumps(manifest).encode())
    partial.replace(path)
    sync_folder(path.parent)
    return sha256


def load_state(path: Path) -> State:
    """Verify and read a checkpoint; nothing in it is executed.

    Raises:
        StorageError: if it is missing, unlisted, damaged, or of a newer format.
    """
    content = io.BytesIO(load_listed(path))
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


def load_listed(path: Path) -> bytes:
    """Read a file whose hash is the one in the manifest beside it.

    Raises:
        StorageError: if it is missing, unlisted or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from error
    listed = _read_manifest(path.parent)["files"].get(path.name)
    if listed is None:
        raise StorageError(f"{path}: not in {MANIFEST} beside it; use a file that is")
    if hashlib.sha256(content).hexdigest() not in listed["sha256"]:
        raise StorageError(f"{path}: damaged, its SHA-256 is not the one in {MANIFEST}")
    return content


def verify(path: Path) -> tuple[int, str]:
    """Return the finished epochs of a checkpoint and its SHA-256, without loading it.

    Raises:
        StorageError: if it is missing, unlisted or damaged.
    """
    sha256 = hashlib.sha256(load_listed(path)).hexdigest()
    return _listed_epoch(path), sha256


def newest_valid(paths: list[Path]) -> tuple[Path | None, State | None, list[str]]:
    """Return the checkpoint of the most epochs that verifies, and what was wrong with later ones.

    Args:
        paths: Checkpoint files, in any order.
    """
    problems: list[str] = []
    for path in sorted(paths, key=_listed_epoch, reverse=True):
        try:
            return path, load_state(path), problems
        except StorageError as error:
            problems.append(str(error))
    return None, None, problems


def _vouched_hash(path: Path, manifest: dict[str, Any]) -> list[str]:
    """The hash of the file that stands at `path`, if there is one and it is listed.

    The manifest's first entry may be of a file that a kill kept from being moved into place.
    """
    listed = manifest["files"].get(path.name)
    if listed is None or not path.is_file():
        return []
    present = hashlib.sha256(path.read_bytes()).hexdigest()
    return [present] if present in listed["sha256"] else []


def _listed_epoch(path: Path) -> int:
    epoch: int = _read_manifest(path.parent)["files"].get(path.name, {"epoch": -1})["epoch"]
    return epoch


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest; a missing or damaged one lists nothing, so nothing is believed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if all(_is_entry(entry) for entry in manifest["files"].values()):
            return {"format": CHECKPOINT_FORMAT, "files": manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {"format": CHECKPOINT_FORMAT, "files": {}}


def _is_entry(entry: dict[str, Any]) -> bool:
    return isinstance(entry["epoch"], int) and isinstance(entry["sha256"], list)
