"""Reading the parameters of a space: ranges or choices, with the conditions they depend on."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import cast

from tune_encoder.config import (
    PackSettings,
    RunSettings,
    SettingValue,
    TrainConfig,
    check_value,
    to_mapping,
    unknown_name_message,
)
from tune_encoder.errors import ConfigError
from tune_encoder.space.space import Parameter, n_steps, range_width, value_at_step
from tune_encoder.system.formats import count_noun

_FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
_TYPES = typing.get_type_hints(TrainConfig)
_SEARCHABLE_RUN_SETTINGS = {"crop_seconds", "crop_seconds_min", "seed"}
_FIXED = {
    **{name: "each value would need its own pack" for name in to_mapping(PackSettings())},
    **{name: "it is not a hyperparameter" for name in to_mapping(RunSettings())},
    "epochs": "the scheduler decides; set budget.epochs",
    "epoch_of": "an epoch is equal work in all trials; set it in base",
    "steps_per_epoch": "an epoch is equal work in all trials; set it in base",
}
for _name in _SEARCHABLE_RUN_SETTINGS:
    del _FIXED[_name]
_KINDS = ("float", "int", "choice")
_OPTIONS = ("log", "step", "when")


def read_parameters(searched: Mapping[str, object], where: str) -> list[Parameter]:
    """Check the `space` section, and sort each parameter after those its conditions depend on."""
    parameters = [_parameter(name, searched[name], f"{where}, space") for name in searched]
    _check_conditions({parameter.name: parameter for parameter in parameters}, where)
    return _sort_by_conditions(parameters, where)


def read_setting(name: str, value: object, where: str) -> SettingValue:
    """Return a value as its setting's type, or raise a `ConfigError` that says what is allowed."""
    if name not in _FIELDS:
        raise ConfigError(f"{where}: {unknown_name_message(name, _FIELDS)}")
    return check_value(_FIELDS[name], _TYPES[name], value, where)


def _parameter(name: str, content: object, where: str) -> Parameter:
    if name not in _FIELDS:
        raise ConfigError(f"{where}: {unknown_name_message(name, _FIELDS)}")
    if name in _FIXED:
        raise ConfigError(f"{where}: {name} cannot be searched; {_FIXED[name]}")
    where = f"{where}.{name}"
    kind, options = _kind(content, where)
    values = _values(name, kind, options[kind], where)
    when = _conditions(options.get("when") or {}, where)
    step = cast("float | None", options.get("step"))  # `_check_range` refuses what is no number
    parameter = Parameter(name, kind, values, _flag(options, "log", where), step, when)
    _check_range(parameter, where)
    return parameter


def _kind(content: object, where: str) -> tuple[str, Mapping[str, object]]:
    """Return the kind of a parameter and what is written of it; all other keys are options."""
    kinds = [kind for kind in _KINDS if isinstance(content, Mapping) and kind in content]
    if not isinstance(content, Mapping) or len(kinds) != 1:
        raise ConfigError(
            f"{where}: write one of float: [low, high], int: [low, high], choice: [a, b, ...]"
        )
    for key in content:
        if key not in (kinds[0], *_OPTIONS):
            raise ConfigError(
                f"{where}: {unknown_name_message(key, (kinds[0], *_OPTIONS), 'option')}"
            )
    return kinds[0], content


def _values(name: str, kind: str, values: object, where: str) -> tuple[SettingValue, ...]:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}: {kind} is {values!r}; write a list with at least one value")
    checked = tuple(read_setting(name, value, where) for value in values)
    if kind != "choice" and len(checked) != 2:
        raise ConfigError(
            f"{where}: {kind} has {count_noun(len(checked), 'value')}; write [low, high]"
        )
    if kind == "int" and _TYPES[name] is not int:
        raise ConfigError(f"{where}: {name} is not a whole number; use float or choice")
    if kind == "float" and _TYPES[name] is not float:
        raise ConfigError(f"{where}: {name} is not a number with a fraction; use int or choice")
    if kind == "choice" and len(set(checked)) < len(checked):
        raise ConfigError(
            f"{where}: {kind} {list(checked)} has a duplicate value; write each value once"
        )
    return checked


def _check_range(parameter: Parameter, where: str) -> None:
    if parameter.kind == "choice":
        if parameter.log or parameter.step is not None:
            raise ConfigError(f"{where}: a choice has neither log nor step; remove them")
        return
    low, high = parameter.bounds
    if low == high:
        raise ConfigError(
            f"{where}: low and high are both {low}, so nothing is searched; set it in base, or "
            "widen the range"
        )
    if low > high:
        raise ConfigError(f"{where}: low {low} is not below high {high}; swap or widen them")
    if parameter.log and low <= 0:
        raise ConfigError(f"{where}: log needs a low above 0, not {low}")
    if parameter.step is not None:
        _check_step(parameter, where)


def _step_number(parameter: Parameter) -> float | None:
    """Return the step if it is a number of the parameter's kind."""
    step: object = parameter.step
    if isinstance(step, bool) or not isinstance(step, int | float):
        return None
    return None if parameter.kind == "int" and not isinstance(step, int) else step


def _check_step(parameter: Parameter, where: str) -> None:
    step, (low, high) = _step_number(parameter), parameter.bounds
    if step is None or not (step > 0 and n_steps(low, high, step)):
        whole = "whole, " if parameter.kind == "int" else ""
        most = range_width(low, high)
        raise ConfigError(
            f"{where}: step is {parameter.step!r}; it must be {whole}above 0, at most {most}"
        )
    if parameter.log:
        raise ConfigError(f"{where}: log and step cannot be combined; remove one of them")
    if (last := value_at_step(low, step, n_steps(low, high, step))) != high:
        raise ConfigError(
            f"{where}: steps of {step} from {low} end at {last}, not at {high}; write "
            f"[{low}, {last}]"
        )


def _flag(content: Mapping[str, object], name: str, where: str) -> bool:
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {name} is {value!r}; it must be true or false")
    return value


# --- conditions --------------------------------------------------------------------------------


def _conditions(when: object, where: str) -> dict[str, tuple[SettingValue, ...]]:
    if not isinstance(when, Mapping):
        raise ConfigError(f"{where}: when is {when!r}; write when: {{setting: value}}")
    for name, values in when.items():
        if values == []:
            raise ConfigError(f"{where}, when: {name} has no value; list at least one")
    return {
        name: tuple(
            read_setting(name, value, f"{where}, when")
            for value in (values if isinstance(values, list) else [values])
        )
        for name, values in when.items()
    }


def _check_conditions(parameters: Mapping[str, Parameter], where: str) -> None:
    """Raise a `ConfigError` for a condition on a searched setting that is never met."""
    for parameter in parameters.values():
        for name, allowed in parameter.when.items():
            other = parameters.get(name)
            if other is not None and not _can_take(other, allowed):
                raise ConfigError(
                    f"{where}, space.{parameter.name}, when: {name} is never "
                    f"{_join_values(allowed)}; its {other.kind} is {list(other.values)}"
                )


def _can_take(parameter: Parameter, allowed: tuple[SettingValue, ...]) -> bool:
    """Whether one of the values can be sampled; in a continuous range none counts as such."""
    continuous = parameter.kind == "float" and parameter.step is None
    return not continuous and any(parameter.contains(value) for value in allowed)


def _join_values(values: tuple[SettingValue, ...]) -> str:
    return " or ".join(repr(value) for value in values)


def _sort_by_conditions(parameters: list[Parameter], where: str) -> list[Parameter]:
    """Sort the parameters so that each comes after those its conditions depend on."""
    waiting = {parameter.name: parameter for parameter in parameters}
    ordered: list[Parameter] = []
    while waiting:
        ready = [each for each in waiting.values() if not waiting.keys() & each.when.keys()]
        if not ready:
            raise ConfigError(
                f"{where}: conditions are circular ({_find_cycle(waiting)}); remove one of them"
            )
        ordered += ready
        waiting = {name: each for name, each in waiting.items() if each not in ready}
    return ordered


def _find_cycle(waiting: Mapping[str, Parameter]) -> str:
    """Follow the conditions of parameters that all depend on another, until one is repeated."""
    path = [next(iter(waiting))]
    while path[-1] not in path[:-1]:
        path.append(next(name for name in waiting[path[-1]].when if name in waiting))
    return " needs ".join(path[path.index(path[-1]) :])
