"""A form of a space's parameters: a config to try, or what of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from tune_encoder.config import SettingValue
from tune_encoder.errors import ConfigError
from tune_encoder.serve.frame import text
from tune_encoder.space import Parameter, SearchSpace
from tune_encoder.system.formats import format_value

Field = TypeVar("Field", bound=ValueElement[Any])


@dataclass
class ConfigForm:
    """A field for each parameter; one whose conditions are not met is hidden and not read."""

    space: SearchSpace
    fields: dict[str, ValueElement[Any]] = field(default_factory=dict)

    def lay_out(self) -> None:
        """Add the fields."""
        with ui.element("div").classes("fields"):
            for parameter in self.space.parameters:
                self.fields[parameter.name] = self._add(parameter)
        text("What is left empty is sampled.", "soft")
        self._show_fitting()

    def _add(self, parameter: Parameter) -> ValueElement[Any]:
        hint = describe_values(parameter)
        if parameter.kind == "choice":
            options = {i: format_value(value) for i, value in enumerate(parameter.values)}
            select = ui.select(
                options, label=parameter.name, clearable=True, on_change=self._show_fitting
            )
            return hinted(select.props("options-dense"), hint)
        number = ui.input(parameter.name, on_change=self._show_fitting)
        return hinted(number.props("inputmode=decimal"), hint)

    def _show_fitting(self) -> None:
        known = dict(self.space.unsearched_settings)
        for parameter in self.space.parameters:
            element = self.fields[parameter.name]
            fits = parameter.applies(known)
            element.set_visibility(fits)
            if fits and element.value not in (None, ""):
                known[parameter.name] = self._value(parameter)

    def _value(self, parameter: Parameter) -> SettingValue:
        value: object = self.fields[parameter.name].value
        if isinstance(value, int):  # the number of a choice
            return parameter.values[value]
        try:
            return int(str(value)) if parameter.kind == "int" else float(str(value))
        except ValueError:  # said when it is added, in the words of the command line
            return str(value)

    def _written(self, parameter: Parameter) -> str:
        if parameter.kind == "choice":
            return json.dumps(self._value(parameter))  # which is YAML, too
        return str(self.fields[parameter.name].value)

    def settings(self) -> list[str]:
        """Return what was filled in, as the command line has it: `name=value`.

        Raises:
            ConfigError: if nothing was.
        """
        found = [
            f"{parameter.name}={self._written(parameter)}"
            for parameter in self.space.parameters
            if self.fields[parameter.name].visible
            and self.fields[parameter.name].value not in (None, "")
        ]
        if not found:
            raise ConfigError("nothing is filled in; give at least one setting a value")
        return found


def hinted(element: Field, hint: str) -> Field:
    """Give a field the look of all, and words under it."""
    element.props("outlined dense hide-bottom-space")
    if isinstance(element, ui.input):
        element.props("autocomplete=off")
    element.props["hint"] = hint
    return element


def describe_values(parameter: Parameter) -> str:
    """Say which values a parameter has, and when it is searched."""
    if parameter.kind == "choice":
        words = f"{len(parameter.values)} choices"
    else:
        low, high = map(format_value, parameter.bounds)
        words = f"{low} to {high}{', log' if parameter.log else ''}"
        words += f", in steps of {parameter.step:g}" if parameter.step is not None else ""
    when = ", ".join(f"{name} {_any_of(values)}" for name, values in parameter.when.items())
    return f"{words}; with {when}" if when else words


def _any_of(values: Sequence[SettingValue]) -> str:
    return " or ".join(map(format_value, values))
