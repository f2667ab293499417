"""The configs of a space as points of a unit cube, for a model of their values.

A config has a coordinate for each parameter: its place between low and high, on the parameter's own
scale, or (index + 0.5) / n of n choices. Where the conditions of a parameter are not met, it is
NaN.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import SettingValue
from tune_encoder.space.space import Parameter, SearchSpace

Array = NDArray[np.float64]

_STEPS = (0.02, 0.1, 0.25)  # standard deviations of a neighbour's coordinates
_MOVES = 0.5  # chance that a coordinate differs from that of its neighbour
_SAME = 1e-9  # coordinates that differ by less are of one value
_CENTRE = 0.5  # of a range, for settings that do not apply


class UnitCube:
    """Draws and converts the configs of a space."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._parameters = space.parameters
        widths = [_width(parameter) for parameter in self._parameters]
        self.owners = np.repeat(np.arange(len(widths)), widths)
        """The parameter of each column of `columns`, numbered from 0."""
        self._place_of = {p.name: place for place, p in enumerate(self._parameters)}

    def coordinates(self, settings: Mapping[str, SettingValue]) -> list[float]:
        """Return a config's coordinates (parameters,), from the settings that apply to it."""
        return [
            _coordinate(p, settings[p.name]) if p.name in settings else np.nan
            for p in self._parameters
        ]

    def settings(self, coordinates: Sequence[float] | Array) -> dict[str, SettingValue]:
        """Return the searched settings of a config."""
        return {
            p.name: _value(p, float(each))
            for p, each in zip(self._parameters, coordinates, strict=True)
            if not np.isnan(each)
        }

    def draw(self, n: int, random: np.random.Generator) -> Array:
        """Draw random configs (n, parameters)."""
        return self._settled(random.random((n, len(self._parameters))))

    def neighbours(self, of: Array, n: int, random: np.random.Generator) -> Array:
        """Draw configs (n, parameters) near those given (m, parameters)."""
        begun = of[random.integers(len(of), size=n)]
        drawn = random.random(begun.shape)
        step = random.choice(_STEPS, size=(n, 1))
        moved = np.clip(begun + step * random.standard_normal(begun.shape), 0.0, 1.0)
        choices = np.array([parameter.kind == "choice" for parameter in self._parameters])
        moved = np.where(choices, drawn, moved)
        found = np.where(random.random(begun.shape) < _MOVES, moved, begun)
        return self._settled(np.where(np.isnan(found), drawn, found))

    def columns(self, coordinates: Array) -> Array:
        """Return points (n, columns) of coordinates (n, parameters), to measure distances.

        A range has one column; n choices have n, so that any two are as far apart as the ends of a
        range.
        """
        columns = []
        for parameter, each in zip(self._parameters, coordinates.T, strict=True):
            if parameter.kind == "choice":
                count = len(parameter.values)
                chosen = np.floor(each * count)[:, None] == np.arange(count)
                columns.append(chosen * np.sqrt(0.5))
            else:
                columns.append(np.nan_to_num(each, nan=_CENTRE)[:, None])
        return np.hstack(columns)

    def _settled(self, coordinates: Array) -> Array:
        """Move to values that a config can have, and drop those that do not apply."""
        settled = np.column_stack(
            [_snap(p, each) for p, each in zip(self._parameters, coordinates.T, strict=True)]
        )
        for place, parameter in enumerate(self._parameters):  # after those it depends on
            for name, allowed in parameter.when.items():
                settled[~self._has_value(settled, name, allowed), place] = np.nan
        return settled

    def _has_value(
        self, coordinates: Array, name: str, allowed: Sequence[SettingValue]
    ) -> NDArray[np.bool_]:
        """Whether configs (n, parameters) have one of the values of a setting: (n,)."""
        if name not in self._place_of:
            has_it = self._space.unsearched_settings.get(name) in allowed
            return np.full(len(coordinates), has_it)
        place = self._place_of[name]
        parameter = self._parameters[place]
        known = [_coordinate(parameter, value) for value in allowed if parameter.contains(value)]
        gaps = np.abs(coordinates[:, place, None] - np.reshape(known, (1, len(known))))
        found: NDArray[np.bool_] = (gaps < _SAME).any(axis=1)
        return found


def _width(parameter: Parameter) -> int:
    return len(parameter.values) if parameter.kind == "choice" else 1


def _coordinate(parameter: Parameter, value: Any) -> float:
    if parameter.kind == "choice":
        return (parameter.values.index(value) + 0.5) / len(parameter.values)
    low, high = _ends(parameter)
    place = math.log(value) if parameter.log else value
    return min(1.0, max(0.0, (place - low) / (high - low))) if high > low else _CENTRE


def _ends(parameter: Parameter) -> tuple[float, float]:
    """Return the lowest and the highest value, on the parameter's own scale."""
    low, high = parameter.bounds
    return (math.log(low), math.log(high)) if parameter.log else (low, high)


def _snap(parameter: Parameter, coordinates: Array) -> Array:
    """Move coordinates (n,) to the nearest that are a value of the parameter."""
    if parameter.kind == "choice":
        count = len(parameter.values)
        return (np.minimum(np.floor(coordinates * count), count - 1) + 0.5) / count
    step = parameter.step or (1 if parameter.kind == "int" else None)
    low, high = _ends(parameter)
    if step is None or high == low:
        return coordinates
    places = low + coordinates * (high - low)
    first, last = parameter.bounds
    n_steps = math.floor((last - first) / step + _SAME)
    indices = np.round(((np.exp(places) if parameter.log else places) - first) / step)
    values = first + step * np.clip(indices, 0, n_steps)
    snapped: Array = ((np.log(values) if parameter.log else values) - low) / (high - low)
    return snapped


def _value(parameter: Parameter, coordinate: float) -> SettingValue:
    if parameter.kind == "choice":
        count = len(parameter.values)
        return parameter.values[min(int(coordinate * count), count - 1)]
    low, high = _ends(parameter)
    place = low + coordinate * (high - low)
    return parameter.nearest(math.exp(place) if parameter.log else place)
