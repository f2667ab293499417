"""What pack.json says of a pack, and where a pack lies by what tells it from others."""

import hashlib
import json
from pathlib import Path
from typing import TypedDict

from tune_encoder.config import FrontendSettings, SettingValue, to_mapping
from tune_encoder.system.files import cache_dir

PACK_FORMAT = 2


class PackIdentity(TypedDict):
    """What tells a pack from others."""

    fingerprint: str
    """Of the data."""
    frontend: dict[str, SettingValue]


class PackInfo(PackIdentity):
    """The content of pack.json."""

    format: int
    warnings: list[str]
    clips: dict[str, int]
    """By split, as are voices, hours and baselines."""
    voices: dict[str, int]
    hours: dict[str, float]
    baselines: dict[str, dict[str, dict[str, float]]]
    """Scores by name of *mean* and *ridge*."""
    sizes: dict[str, int]
    """Bytes of each file."""


def pack_identity(fingerprint: str, settings: FrontendSettings) -> PackIdentity:
    """Return what tells the pack of these data and this front end from others."""
    names = to_mapping(FrontendSettings())
    frontend = {name: getattr(settings, name) for name in names}
    return {"fingerprint": fingerprint, "frontend": frontend}


def pack_folder(fingerprint: str, settings: FrontendSettings) -> Path:
    """Return where the pack of data with this fingerprint lies, once it is made."""
    identity = pack_identity(fingerprint, settings)
    key = hashlib.sha256(json.dumps([PACK_FORMAT, identity]).encode()).hexdigest()[:16]
    return cache_dir() / "packs" / key
