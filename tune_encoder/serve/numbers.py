"""Numbers that were filled in."""

from collections.abc import Mapping

from tune_encoder.errors import ConfigError


def whole_numbers(written: Mapping[str, str | None]) -> dict[str, int]:
    """Read the whole numbers of fields, by name; empty fields are left out.

    Raises:
        ConfigError: for what is no whole number.
    """
    return {name: _number(name, text) for name, text in written.items() if text and text.strip()}


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"{name.replace('_', ' ')} is {text!r}; write a whole number") from error
