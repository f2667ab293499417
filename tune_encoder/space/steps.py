"""Ranges with a step, counted in decimals: in binary 0.3 / 0.1 is below 3 and 3 * 0.1 above 0.3."""

from decimal import Decimal
from typing import TypeVar

Number = TypeVar("Number", int, float)


def width(low: Number, high: Number) -> Number:
    """How far apart the ends are."""
    return type(low)(_decimal(high) - _decimal(low))


def n_steps(low: float, high: float, step: float) -> int:
    """How many whole steps lead from `low` towards `high`."""
    return int((_decimal(high) - _decimal(low)) / _decimal(step))


def at_step(low: Number, step: float, index: int) -> Number:
    """The value so many steps above `low`."""
    return type(low)(_decimal(low) + index * _decimal(step))


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))
