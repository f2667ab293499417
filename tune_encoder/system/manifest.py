"""Manifests: a folder's files with their SHA-256, verified whenever a file is read.

A checkpoint folder has a `manifest.json`, updated with every checkpoint; a model folder, written
once, lists the hashes in its `provenance.json` under the same key. A manifest is written before
the file is moved into place, with both the old and the new hash, so a valid file is always listed.
"""

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

from tune_encoder.errors import StorageError
from tune_encoder.system.damage import parse_json
from tune_encoder.system.files import Write, atomic_write, fsync_folder, write_beside

MANIFEST_FORMAT = 1
_CHUNK_BYTES = 2**20
MANIFEST, PROVENANCE = "manifest.json", "provenance.json"

Entries = dict[str, dict[str, Any]]


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def save_with_hash(path: Path, content: bytes, epoch: int) -> str:
    """Write a file and its hash into the manifest beside it; see `write_with_hash`."""
    return write_with_hash(path, lambda file: file.write(content), epoch)


def write_with_hash(path: Path, write: Write, epoch: int) -> str:
    """Write a file by calling `write`, and its hash into the manifest beside it.

    Args:
        path: Always absent, old, or complete; its folder is created if needed.
        write: Called with the open file.
        epoch: Number of finished epochs, recorded in the manifest.

    Returns:
        The file's SHA-256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = write_beside(path, write)
    sha256 = sha256_of_file(partial)
    entries = read_manifest(path.parent)
    hashes = [sha256, *_current_hash(path, entries)]
    entries[path.name] = {"epoch": epoch, "sha256": hashes}
    manifest = {"format": MANIFEST_FORMAT, "files": entries}
    atomic_write(path.parent / MANIFEST, json.dumps(manifest).encode())
    partial.replace(path)
    fsync_folder(path.parent)
    return sha256


def load_verified(path: Path) -> bytes:
    """Read a file and verify it against the manifest beside it.

    Raises:
        StorageError: if it is missing, unlisted or damaged.
    """
    try:
        content = _read(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from error
    listed = read_manifest(path.parent).get(path.name)
    where = _manifest_path(path.parent).name
    if listed is None:
        raise StorageError(f"{path}: not listed in {where} beside it; use a file that is")
    if sha256_of(content) not in listed["sha256"]:
        raise StorageError(f"{path}: damaged, its SHA-256 is not the one in {where}")
    return content


def verify(path: Path) -> tuple[int, str]:
    """Return the number of finished epochs of a file, and its SHA-256.

    Raises:
        StorageError: if it is missing, unlisted or damaged.
    """
    return manifest_epoch(path), sha256_of(load_verified(path))


def manifest_epoch(path: Path) -> int:
    """Return the number of finished epochs listed for a file; -1 if none is listed."""
    epoch: int = read_manifest(path.parent).get(path.name, {}).get("epoch", -1)
    return epoch


def read_manifest(folder: Path) -> Entries:
    """Read the manifest; a missing or damaged one counts as empty, so no file passes."""
    try:
        text = _read(_manifest_path(folder)).decode()
        entries: Entries = parse_json(text)["files"]
        if all(_is_entry(name, entry) for name, entry in entries.items()):
            return entries
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def _read(path: Path) -> bytes:
    """Read a file; one that is none, such as a pipe, would be waited for."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    return path.read_bytes()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, which may be large, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(_CHUNK_BYTES):
            digest.update(content)
    return digest.hexdigest()


def _manifest_path(folder: Path) -> Path:
    manifest, provenance = folder / MANIFEST, folder / PROVENANCE
    return provenance if provenance.exists() and not manifest.exists() else manifest


def _current_hash(path: Path, entries: Entries) -> list[str]:
    """The hash of the existing file at `path`, if it is listed.

    The first hash in the manifest may belong to a file that a kill kept from being moved there.
    """
    listed = entries.get(path.name)
    if listed is None or not path.is_file():
        return []
    present = sha256_of_file(path)
    return [present] if present in listed["sha256"] else []


def _is_entry(name: str, entry: dict[str, Any]) -> bool:
    """Whether an entry is that of a file of the folder; only checkpoints have an epoch."""
    if name in ("", "..") or Path(name).name != name or not name.isprintable():
        return False  # it would lead out of the folder, or be no name
    hashes = entry["sha256"]
    are_texts = isinstance(hashes, list) and all(isinstance(each, str) for each in hashes)
    return isinstance(entry.get("epoch", -1), int) and are_texts and bool(hashes)
