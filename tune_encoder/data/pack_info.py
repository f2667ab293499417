"""The content of pack.json, and the cache folder of a pack by its identity."""

import hashlib
import json
from pathlib import Path
from typing import TypedDict

from tune_encoder.config import FrontendSettings, SettingValue, to_mapping
from tune_encoder.errors import StorageError
from tune_encoder.system.damage import parse_json
from tune_encoder.system.files import cache_dir

PACK_FORMAT = 7


class PackIdentity(TypedDict):
    """What identifies a pack."""

    fingerprint: str
    """Fingerprint of the data."""
    frontend: dict[str, SettingValue]


class PackInfo(PackIdentity):
    """The content of pack.json."""

    format: int
    warnings: list[str]
    clips: dict[str, int]
    """Number of clips by split; voices, hours and baselines are by split too."""
    voices: dict[str, int]
    hours: dict[str, float]
    voice_kinds: dict[str, str]
    """By split, but of train: "known", "new" or "mixed", see `PackedData.voice_kind`."""
    baselines: dict[str, dict[str, dict[str, float]]]
    """Scores by name, of *mean*, *ridge* and *statistics*."""
    sizes: dict[str, int]
    """Size of each file in bytes."""


def pack_identity(fingerprint: str, settings: FrontendSettings) -> PackIdentity:
    """Return the identity of the pack of data with these front-end settings.

    `remove_dc` is named only where it is on: what was identified before there was such a setting
    has the same identity today.
    """
    names = to_mapping(FrontendSettings())
    frontend = {name: getattr(settings, name) for name in names}
    if not settings.remove_dc:
        del frontend["remove_dc"]
    return {"fingerprint": fingerprint, "frontend": frontend}


def recorded_voice_kind(fingerprint: str, settings: FrontendSettings, split: str) -> str | None:
    """Return the kind of a split's voices as a pack in the cache has it; None if there is none."""
    try:
        path = pack_folder(fingerprint, settings) / "pack.json"
        info: PackInfo = parse_json(path.read_text(encoding="utf-8"))
        return info["voice_kinds"].get(split)
    except (OSError, ValueError, KeyError, StorageError):
        return None


def pack_folder(fingerprint: str, settings: FrontendSettings) -> Path:
    """Return the folder of the pack of data with this fingerprint, which may not exist yet."""
    identity = pack_identity(fingerprint, settings)
    key = hashlib.sha256(json.dumps([PACK_FORMAT, identity]).encode()).hexdigest()[:16]
    return cache_dir() / "packs" / key
