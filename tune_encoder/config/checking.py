"""Conversion of plain names and values to settings, each checked against its type and range."""

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from tune_encoder.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Kind: typing.TypeAlias = type | types.UnionType
MAX_EXACT_INT = 2**53  # a float represents every whole number below it exactly

Settings = TypeVar("Settings")
SettingValue: typing.TypeAlias = bool | int | float | str | None
"""What a setting can be; None of the few that may be left empty."""


def from_mapping(kind: type[Settings], mapping: Mapping[str, object], where: str) -> Settings:
    """Build settings of `kind`, checking every key, type and range.

    Args:
        kind: A dataclass whose fields were made by `setting`.
        mapping: Names and values, as YAML reads them.
        where: The file or option they come from, for the error message.

    Raises:
        ConfigError: naming `where`, the key, its value, and what is allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    known = _type_hints(kind)  # type: ignore[arg-type]
    values = {}
    for name, value in mapping.items():
        if name not in fields:
            raise ConfigError(f"{where}: {unknown_name_message(name, fields)}")
        values[name] = check_value(fields[name], known[name], value, where)
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


@cache  # evaluating them takes longer than all else, and a space is checked by many configs
def _type_hints(kind: type[object]) -> dict[str, Kind]:
    return typing.get_type_hints(kind)


def unknown_name_message(name: object, known: typing.Iterable[str], noun: str = "setting") -> str:
    """Say that `name` is unknown and which known name is closest, whatever section it names."""
    known = sorted(known)
    last = str(name).rpartition(".")[2]
    near = difflib.get_close_matches(last, known, n=1)
    near = near or difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown {noun} {name!r}; {hint}"


def check_value(
    field: "dataclasses.Field[object]", kind: Kind, value: object, where: str
) -> SettingValue:
    """Return `value` as the field's type; raise a `ConfigError` that says what is allowed."""
    accepted = _convert(kind, value)
    if accepted is _INVALID or not _in_limits(field, accepted):
        raise ConfigError(
            f"{where}: {field.name} is {value!r}; it must be {allowed_values(field, kind)}"
        )
    assert isinstance(accepted, SettingValue)
    return accepted


_INVALID = object()
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _convert(kind: Kind, value: object) -> object:
    """Return `value` as `kind`, or `_INVALID`; only whole numbers are converted, to floats."""
    if isinstance(kind, types.UnionType):
        options = (_convert(option, value) for option in typing.get_args(kind))
        return next((option for option in options if option is not _INVALID), _INVALID)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < MAX_EXACT_INT else _INVALID
    if kind is int and isinstance(value, bool):
        return _INVALID
    if isinstance(value, float) and not math.isfinite(value):
        return _INVALID
    if isinstance(value, str) and not is_nameable(value):
        return _INVALID
    return value if isinstance(value, kind) else _INVALID


def is_nameable(text: str) -> bool:
    """Whether a file could have this name: without null characters, and without half characters."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _in_limits(field: "dataclasses.Field[object]", value: object) -> bool:
    limits = field.metadata
    if value is None:
        return True
    if limits["choices"] is not None:
        return value in limits["choices"]
    low, high = limits["minimum"], limits["maximum"]
    if not isinstance(value, int | float):
        return True  # a text without choices
    return (low is None or value >= low) and (high is None or value <= high)


def allowed_values(field: "dataclasses.Field[object]", kind: Kind) -> str:
    """Describe in words which values the field accepts."""
    limits = field.metadata
    if limits["choices"] is not None:
        return "one of " + ", ".join(limits["choices"])
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    words = " or ".join(_TYPE_NAMES.get(each, "empty") for each in kinds)
    low, high = limits["minimum"], limits["maximum"]
    if low is not None and high is not None:
        return f"{words} from {low:g} to {high:g}"
    return words if low is None else f"{words} of at least {low:g}"


def to_mapping(settings: "DataclassInstance") -> dict[str, SettingValue]:
    """Return the settings as plain names and values, for YAML or JSON."""
    return dataclasses.asdict(settings)
