"""The manifest of a folder: a SHA-256 for each file that must be whole to be believed.

It is written before a file is moved into place and names both its old and its new hash, so at no
moment is a good file without one.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tune_encoder.errors import StorageError
from tune_encoder.files import sync_folder, write_beside, write_whole

MANIFEST_FORMAT = 1
MANIFEST = "manifest.json"


def save_listed(path: Path, content: bytes, epoch: int) -> str:
    """Write a file and its hash into the manifest; `path` is always absent, old, or complete.

    Args:
        path: The file; its folder is made if need be.
        content: What it is to hold.
        epoch: Finished epochs of the training it comes from.

    Returns:
        The file's SHA-256.
    """
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
    """Return the finished epochs of a file and its SHA-256.

    Raises:
        StorageError: if it is missing, unlisted or damaged.
    """
    sha256 = hashlib.sha256(load_listed(path)).hexdigest()
    return listed_epoch(path), sha256


def listed_epoch(path: Path) -> int:
    """Return the finished epochs of a listed file, -1 of another."""
    epoch: int = _read_manifest(path.parent)["files"].get(path.name, {"epoch": -1})["epoch"]
    return epoch


def _vouched_hash(path: Path, manifest: dict[str, Any]) -> list[str]:
    """The hash of the file that stands at `path`, if there is one and it is listed.

    The manifest's first entry may be of a file that a kill kept from being moved into place.
    """
    listed = manifest["files"].get(path.name)
    if listed is None or not path.is_file():
        return []
    present = hashlib.sha256(path.read_bytes()).hexdigest()
    return [present] if present in listed["sha256"] else []


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest; a missing or damaged one lists nothing, so nothing is believed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if all(_is_entry(entry) for entry in manifest["files"].values()):
            return {"format": MANIFEST_FORMAT, "files": manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {"format": MANIFEST_FORMAT, "files": {}}


def _is_entry(entry: dict[str, Any]) -> bool:
    return isinstance(entry["epoch"], int) and isinstance(entry["sha256"], list)
