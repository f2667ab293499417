"""provenance.json: what a model was made from, and the SHA-256 of its files."""

import hashlib
import json
import platform
from collections.abc import Collection
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tune_encoder.data.pack import Pack, PackedData
from tune_encoder.data.samples import SPLITS
from tune_encoder.errors import StorageError
from tune_encoder.export.combining import Model
from tune_encoder.export.contents import DataDescription, Provenance
from tune_encoder.export.origin import Origin
from tune_encoder.system.damage import parse_json, refuse_damage
from tune_encoder.system.files import atomic_write
from tune_encoder.system.manifest import MANIFEST, PROVENANCE, read_manifest, sha256_of

PROVENANCE_FORMAT = 1
_PACKAGES = ("tune-encoder", "torch", "numpy", "safetensors", "onnx", "onnxruntime")


def provenance(origin: Origin, model: Model, data: PackedData) -> Provenance:
    """Return the content of provenance.json except the files."""
    content: Provenance = {
        "format": PROVENANCE_FORMAT,
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "experiment": origin.name,
        "kind": model.kind,
        "members": model.describe_members(),
        "trained_on": list(model.trained_on),
        "search_seed": origin.seed,
        "data": describe_data(data, model.trained_on),
        "versions": {"search": origin.versions, "export": versions()},
    }
    if model.folded is not None:
        content["folds"] = model.folded["folds"]
    if model.refitted is not None:
        content["refitted"] = True
    return content


def describe_data(data: PackedData, trained_on: Collection[str]) -> DataDescription:
    """Return a data set's identity and size, and which other splits share styles with training."""
    info = data.info
    packs = {"train": data.train, "val": data.val, "test": data.test}
    known = set().union(*(unique_style_hashes(packs[name]) for name in trained_on))
    others = {name: pack for name, pack in packs.items() if name not in trained_on and pack}
    shared = {name: len(unique_style_hashes(pack) & known) for name, pack in others.items()}
    return {
        "fingerprint": info["fingerprint"],
        "frontend": info["frontend"],
        "clips": info["clips"],
        "voices": info["voices"],
        "hours": info["hours"],
        "known_styles": shared,
    }


def unique_style_hashes(pack: Pack | None) -> set[bytes]:
    """Return hashes of a split's unique styles, one per voice."""
    ttl = () if pack is None else pack.unique_styles.ttl
    return {hashlib.blake2b(style.tobytes(), digest_size=16).digest() for style in ttl}


def versions() -> dict[str, str]:
    """Return the versions of Python, platform and the installed packages that matter."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_provenance(folder: Path, content: Provenance) -> None:
    """Write provenance.json with the hash of every other file of the folder."""
    files = {
        path.name: {"sha256": [sha256_of(path.read_bytes())]}
        for path in sorted(folder.iterdir())
        if path.name not in (PROVENANCE, MANIFEST)
    }
    text = json.dumps({**content, "files": files}, indent=2, allow_nan=False)
    atomic_write(folder / PROVENANCE, text.encode())


def read_provenance(folder: Path) -> Provenance:
    """Read provenance.json.

    Raises:
        StorageError: if it is missing, damaged, or of a newer format.
    """
    path = folder / PROVENANCE
    try:
        with refuse_damage(lambda why: _damaged(path, why)):
            content: Provenance = parse_json(path.read_text(encoding="utf-8"))
            written = int(content["format"])
            if written <= PROVENANCE_FORMAT:
                _check_content(folder, content)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be read ({error.strerror}); name a folder made by `export`"
        ) from error
    if written > PROVENANCE_FORMAT:
        raise StorageError(
            f"{path}: written in format {written}, this program reads up to {PROVENANCE_FORMAT}; "
            "update tune-encoder"
        )
    return content


def _damaged(path: Path, why: str) -> StorageError:
    return StorageError(f"{path}: damaged ({why}); export the model again")


def _check_content(folder: Path, content: Provenance) -> None:
    """Check what is read of it: the files, and what the scores are computed from."""
    if not read_manifest(folder):
        raise ValueError("it lists no files of the folder with their SHA-256")
    if not set(content["trained_on"]) <= set(SPLITS):
        raise ValueError(f"it was trained on {content['trained_on']}")
    content["data"]["fingerprint"]
