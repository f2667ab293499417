"""Stored settings that an older program wrote: they mean what they meant then.

What this program stores names every setting, so one that is missing did not exist yet. A search
stores only what its space says, and beside it the defaults of its time.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from tune_encoder.config.checking import SettingValue, from_mapping, to_mapping
from tune_encoder.config.training import CopySettings, PackSettings, TrainConfig

MEANT_BEFORE: dict[str, SettingValue] = {
    "remove_dc": False,
    "head": "pca",
    "epoch_of": "clips",
    "steps_per_epoch": 1,
    "crop_seconds_min": 0.0,
    "init_from": "",
    "init_sha256": "",
    **to_mapping(CopySettings()),  # none were made
}
"""What settings of the first version, in which some were missing, mean where they are not named."""
_ALWAYS_NAMED = {field.name for field in dataclasses.fields(TrainConfig)} - MEANT_BEFORE.keys()

SECTIONS_MEANT_BEFORE: dict[str, dict[str, SettingValue]] = {
    "scheduler": {"name": "asha"},
    "searcher": {"name": "tpe"},
}
"""What settings of a search's sections mean where a stored space does not name them."""


def complete_settings(stored: Mapping[str, object]) -> dict[str, object]:
    """Return the stored settings of a run with those that its program did not know."""
    return {**stored, **{name: MEANT_BEFORE[name] for name in MEANT_BEFORE.keys() - stored.keys()}}


def stored_config(stored: Mapping[str, object], where: str) -> TrainConfig:
    """Build the config of a run's stored settings; raises what `from_mapping` raises."""
    return from_mapping(TrainConfig, complete_settings(stored), where)


def is_complete(settings: Mapping[str, object]) -> bool:
    """Whether a program wrote these settings; a person writes only some."""
    return settings.keys() >= _ALWAYS_NAMED


def unlike_pack(
    before: Mapping[str, SettingValue], now: Mapping[str, SettingValue]
) -> Iterator[tuple[str, SettingValue, SettingValue]]:
    """Yield name, old and new value of each setting of features and copies that differs.

    Trials of different ones are not compared. What `before` does not name does not differ.
    """
    for name in to_mapping(PackSettings()):
        if before.get(name, now[name]) != now[name]:
            yield name, before[name], now[name]


def changed_defaults(stored: Mapping[str, SettingValue] | None) -> dict[str, SettingValue]:
    """Return the defaults that are others today.

    Args:
        stored: The defaults of a search's time, without those of newer settings; None if it did
            not store them.
    """
    before = {**MEANT_BEFORE, **(stored or {})}
    today = to_mapping(TrainConfig())
    return {name: value for name, value in before.items() if today.get(name, value) != value}
