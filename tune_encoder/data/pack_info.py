"""The content of pack.json, and the cache folder of a pack by its identity."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple, TypedDict

from tune_encoder.config import (
    CopySettings,
    FrontendSettings,
    PackSettings,
    SettingValue,
    to_mapping,
)
from tune_encoder.errors import TuneEncoderError
from tune_encoder.system.damage import parse_json
from tune_encoder.system.files import cache_dir

PACK_FORMAT = 7
SOUND_FOLDERS = {"copy_rooms_dir", "copy_noise_dir"}  # settings; what is in them counts, not where


class _DataIdentity(TypedDict):
    fingerprint: str
    """Fingerprint of the data."""
    frontend: dict[str, SettingValue]


class PackIdentity(_DataIdentity, total=False):
    """What identifies a pack."""

    copies: dict[str, SettingValue]
    """How the copies of train were made; absent if there are none."""


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


class SearchedData(NamedTuple):
    """The data of a search, as it was when the search began."""

    folder: Path
    fingerprint: str
    copies: dict[str, SettingValue] | None
    """How the copies of train were made, see `PackIdentity`; None if that was not recorded."""


def pack_identity(fingerprint: str, settings: PackSettings) -> PackIdentity:
    """Return the identity of the pack of data with these front-end settings.

    `remove_dc` is named only where it is on: what was identified before there was such a setting
    has the same identity today.

    Raises:
        DataError: naming a folder of rooms or noise that has none.
    """
    identity = _identity_without_copies(fingerprint, settings)
    if settings.augment_copies:
        identity["copies"] = _copies_identity(settings)
    return identity


def _identity_without_copies(fingerprint: str, settings: FrontendSettings) -> PackIdentity:
    names = to_mapping(FrontendSettings())
    frontend = {name: getattr(settings, name) for name in names}
    if not settings.remove_dc:
        del frontend["remove_dc"]
    return {"fingerprint": fingerprint, "frontend": frontend}


def _copies_identity(settings: CopySettings) -> dict[str, SettingValue]:
    """The settings of copies, with the content of folders instead of their paths."""
    from tune_encoder.data.copies import sounds_fingerprint  # loads scipy

    made = {name: getattr(settings, name) for name in to_mapping(CopySettings())}
    return made | {name: sounds_fingerprint(name, made[name]) for name in SOUND_FOLDERS}


def recorded_voice_kind(fingerprint: str, settings: PackSettings, split: str) -> str | None:
    """Return the kind of a split's voices as a pack in the cache has it; None if there is none."""
    try:
        path = pack_folder(fingerprint, settings) / "pack.json"
        info: PackInfo = parse_json(path.read_text(encoding="utf-8"))
        return info["voice_kinds"].get(split)
    except (OSError, ValueError, KeyError, TuneEncoderError):
        return None


def recorded_baselines(
    searched: SearchedData, settings: FrontendSettings, split: str
) -> dict[str, dict[str, float]] | None:
    """Return the baselines' scores as a pack in the cache has them; None if there is none.

    Args:
        searched: The data of a search; its copies are not made out again.
        settings: Of its front end.
        split: On which the baselines are scored.
    """
    identity = _identity_without_copies(searched.fingerprint, settings)
    if searched.copies:
        identity["copies"] = searched.copies
    try:
        text = (_folder_of(identity) / "pack.json").read_text(encoding="utf-8")
        info: PackInfo = parse_json(text)
        found = info["baselines"].get(split) or {}
        is_whole = all("skill" in scores for scores in found.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or of old times
        return None
    return found if found and is_whole else None


def pack_folder(fingerprint: str, settings: PackSettings) -> Path:
    """Return the folder of the pack of data with this fingerprint, which may not exist yet."""
    return _folder_of(pack_identity(fingerprint, settings))


def _folder_of(identity: PackIdentity) -> Path:
    key = hashlib.sha256(json.dumps([PACK_FORMAT, identity]).encode()).hexdigest()[:16]
    return cache_dir() / "packs" / key
