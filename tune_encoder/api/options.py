"""Arguments of the functions of a notebook, checked as the command line checks its options."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tune_encoder.config import unknown_name_message
from tune_encoder.errors import ConfigError


def expand_path(path: str | Path) -> Path:
    """Return the path with `~` expanded, as a shell would do."""
    return Path(path).expanduser()


def expand_if_given(path: str | Path | None) -> Path | None:
    """Return the path with `~` expanded, if there is one."""
    return None if path is None else expand_path(path)


def several_recordings(given: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the paths of one recording or several; raises a `ConfigError` if there is none."""
    paths = [expand_path(each) for each in ([given] if isinstance(given, str | Path) else given)]
    if not paths:
        raise ConfigError("recordings is empty; name at least one")
    return paths


def check_option_names(
    given: Mapping[str, object], known: Mapping[str, object], where: str
) -> dict[str, Any]:
    """Return the options that are not None; all of their names must be known.

    Raises:
        ConfigError: naming the option and those like it.
    """
    for name in given:
        if name not in known:
            raise ConfigError(f"{where}: {unknown_name_message(name, known, 'option')}")
    return {name: value for name, value in given.items() if value is not None}


def check_choice(value: object, choices: Sequence[str], name: str) -> None:
    """Raise a `ConfigError` unless the value of an argument is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")


def check_whole_number(value: object, lowest: int, name: str) -> None:
    """Raise a `ConfigError` unless the value of an argument is a whole number, not below one."""
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number from {lowest}")
