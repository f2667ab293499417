"""Constraints: limits that a trial's quantities must keep for it to be the best of its search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_encoder.config import QUANTITIES, unknown_name_message
from tune_encoder.errors import ConfigError

_BOUNDS = ("min", "max")
_WHOLE = 1000.0  # numbers from here on are shown without decimals


@dataclass(frozen=True)
class Constraint:
    """The lowest and the highest value that a quantity may have; None is no limit."""

    name: str
    """Of `config.QUANTITIES`."""
    min: float | None = None
    max: float | None = None

    def excesses(self, value: float) -> dict[str, float]:
        """Return how far a value is beyond each limit, relative to it; 0 or less is within."""
        found = {}
        if self.min is not None:
            found[f"{self.name} min"] = (self.min - value) / _scale(self.min)
        if self.max is not None:
            found[f"{self.name} max"] = (value - self.max) / _scale(self.max)
        return found

    def describe(self, value: float) -> str:
        """Say that a value is beyond a limit; empty if it is not."""
        if self.max is not None and value > self.max:
            return f"{self.name} is {_format(value)}, above its maximum of {_format(self.max)}"
        if self.min is not None and value < self.min:
            return f"{self.name} is {_format(value)}, below its minimum of {_format(self.min)}"
        return ""

    def __str__(self) -> str:
        words = {"at least": self.min, "at most": self.max}
        limits = [f"{word} {_format(limit)}" for word, limit in words.items() if limit is not None]
        return f"{self.name} {' and '.join(limits)}"

    def content(self) -> dict[str, float]:
        """Return its limits as the file has them."""
        limits = {name: getattr(self, name) for name in _BOUNDS}
        return {name: limit for name, limit in limits.items() if limit is not None}


def _scale(limit: float) -> float:
    """What excesses are divided by, so that those of several quantities can be added."""
    return abs(limit) or 1.0


def _format(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= _WHOLE else f"{number:.6g}"


def read_constraints(content: Mapping[str, object], where: str) -> tuple[Constraint, ...]:
    """Read the section `constraints`.

    Raises:
        ConfigError: naming the quantity, its limits, and what is allowed.
    """
    return tuple(_read(name, limits, where) for name, limits in content.items())


def _read(name: str, limits: object, where: str) -> Constraint:
    if name not in QUANTITIES:
        raise ConfigError(f"{where}: {unknown_name_message(name, QUANTITIES, 'quantity')}")
    if not isinstance(limits, Mapping) or not limits or not limits.keys() <= {*_BOUNDS}:
        raise ConfigError(f"{where}: {name} is {limits!r}; write {{max: NUMBER}}, min, or both")
    for bound, limit in limits.items():
        number = isinstance(limit, int | float) and not isinstance(limit, bool)
        if not number or not math.isfinite(limit):
            raise ConfigError(f"{where}, {name}: {bound} is {limit!r}; it must be a number")
    constraint = Constraint(name, **{bound: float(limit) for bound, limit in limits.items()})
    if (
        constraint.min is not None
        and constraint.max is not None
        and constraint.min > constraint.max
    ):
        raise ConfigError(
            f"{where}, {name}: min is {constraint.min:g}, above max, {constraint.max:g}"
        )
    return constraint


def excesses(constraints: Sequence[Constraint], known: Mapping[str, object]) -> dict[str, float]:
    """Return the excess over each limit whose quantity is known."""
    found: dict[str, float] = {}
    for constraint in constraints:
        value = known.get(constraint.name)
        if isinstance(value, int | float):
            found |= constraint.excesses(value)
    return found


def broken_constraints(constraints: Sequence[Constraint], known: Mapping[str, object]) -> str:
    """Say which known quantities are beyond their limits; empty if none is."""
    values = ((each, known.get(each.name)) for each in constraints)
    words = (each.describe(value) for each, value in values if isinstance(value, int | float))
    return "; ".join(filter(None, words))
