"""Search spaces: YAML files that say what to search, within what budget.

A space is checked whole when it is read, against the settings' own types and ranges, so that no
trial fails for a typo. It knows neither Ray nor Optuna: `SearchSpace.sample` asks whoever suggests.
"""

import dataclasses
import os
import random
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tune_encoder.config import (
    BudgetSettings,
    FrontendSettings,
    MetricSettings,
    ResourceSettings,
    RunSettings,
    SchedulerSettings,
    SearcherSettings,
    TrainConfig,
    checked_value,
    from_mapping,
    read_yaml,
    to_mapping,
    unknown_name,
)
from tune_encoder.errors import ConfigError

SAMPLES_CHECKED = 200  # enough to meet any combination that is not very rare
_FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
_TYPES = typing.get_type_hints(TrainConfig)
_SEARCHABLE_RUN_SETTINGS = {"crop_seconds", "seed"}
_FIXED = {
    **{name: "it would need a pack of its own" for name in to_mapping(FrontendSettings())},
    **{name: "it is no property of a config" for name in to_mapping(RunSettings())},
    "epochs": "the scheduler decides; set budget.epochs",
}
for _name in _SEARCHABLE_RUN_SETTINGS:
    del _FIXED[_name]


class Suggest(Protocol):
    """Who proposes values; an `optuna.Trial` is one."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Propose a number."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Propose a whole number."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Propose one of the choices."""


@dataclass(frozen=True)
class Parameter:
    """One searched setting."""

    name: str
    kind: str
    """float, int or choice"""
    values: tuple[Any, ...]
    """Lowest and highest, or the choices."""
    log: bool = False
    step: Any = None
    when: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    """Other settings and the values under which this one is searched."""

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether the conditions hold."""
        return all(settings.get(name) in allowed for name, allowed in self.when.items())

    def sample(self, suggest: Suggest) -> Any:
        """Ask for a value."""
        if self.kind == "choice":
            return suggest.suggest_categorical(self.name, self.values)
        low, high = self.values
        if self.kind == "int":
            return suggest.suggest_int(self.name, low, high, step=int(self.step or 1), log=self.log)
        return suggest.suggest_float(self.name, low, high, step=self.step, log=self.log)

    def holds(self, value: Any) -> bool:
        """Whether the value can be sampled."""
        if self.kind == "choice":
            return value in self.values
        return bool(self.values[0] <= value <= self.values[1])


@dataclass(frozen=True)
class SearchSpace:
    """Everything a search is told."""

    metric: MetricSettings
    budget: BudgetSettings
    scheduler: SchedulerSettings
    searcher: SearcherSettings
    resources: ResourceSettings
    base: dict[str, Any]
    """Settings all trials share."""
    parameters: list[Parameter]
    """What is searched; each after those its conditions name."""
    start: list[dict[str, Any]]
    """Configs to try first."""

    def sample(self, suggest: Suggest) -> dict[str, Any]:
        """Return the settings of one trial: base, then what `suggest` proposes."""
        settings = {**to_mapping(TrainConfig()), **self.base}
        for parameter in self.parameters:
            if parameter.applies(settings):
                settings[parameter.name] = parameter.sample(suggest)
        settings["epochs"] = self.budget.epochs
        return settings

    def config(self, settings: Mapping[str, Any], where: str = "search space") -> TrainConfig:
        """Return the checked config of a trial's settings."""
        return from_mapping(TrainConfig, settings, where)

    def first_configs(self) -> list[dict[str, Any]]:
        """The configs to try first: those given, else the defaults as far as they are in range."""
        if self.start:
            return self.start
        defaults = {**to_mapping(TrainConfig()), **self.base}
        return [{p.name: defaults[p.name] for p in self.parameters if p.holds(defaults[p.name])}]


class RandomSuggest:
    """Uniform proposals, to check and to print a space."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Uniform, or uniform in the logarithm."""
        if log:
            return float(low * (high / low) ** self._random.random())
        if step:
            return low + step * self._random.randint(0, int((high - low) / step))
        return self._random.uniform(low, high)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Uniform over the steps, or uniform in the logarithm."""
        if log:
            return round(self.suggest_float(name, low, high, log=True))
        return self._random.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Any of the choices."""
        return self._random.choice(list(choices))


# --- reading -----------------------------------------------------------------------------------

_SECTIONS = {
    "metric": MetricSettings,
    "budget": BudgetSettings,
    "scheduler": SchedulerSettings,
    "searcher": SearcherSettings,
    "resources": ResourceSettings,
}
_KINDS = ("float", "int", "choice")
_OPTIONS = ("log", "step", "when")


def load_space(path: Path) -> SearchSpace:
    """Read a search space and check it whole.

    Raises:
        ConfigError: naming the file, the key, and what is allowed.
    """
    return parse_space(read_yaml(path), str(path), path.parent)


def parse_space(content: Mapping[str, Any], where: str, folder: Path) -> SearchSpace:
    """Check a space given as plain values; see `load_space`."""
    for name in content:
        if name not in {*_SECTIONS, "base", "space", "start"}:
            known = [*_SECTIONS, "base", "space", "start"]
            raise ConfigError(f"{where}: {unknown_name(name, known, 'section')}")
    sections: dict[str, Any] = {
        name: from_mapping(kind, _mapping(content, name, where), f"{where}, {name}")
        for name, kind in _SECTIONS.items()
    }
    base = _base(_mapping(content, "base", where), f"{where}, base", folder)
    searched = _mapping(content, "space", where)
    parameters = [_parameter(name, searched[name], f"{where}, space") for name in searched]
    start = _start(content.get("start") or [], parameters, f"{where}, start")
    space = SearchSpace(**sections, base=base, parameters=_in_order(parameters, where), start=start)
    _check_together(space, where)
    return space


def find_space(name: str) -> Path:
    """Return the YAML file a person named, or the one of that name that comes with the program."""
    shipped = {path.stem: path for path in sorted(_shipped_folder().glob("*.yaml"))}
    if name in shipped:
        return shipped[name]
    if not os.path.isfile(name):  # noqa: PTH113  (Path.is_file raises on a name too long)
        raise ConfigError(f"{name}: no such file, nor a space of the program: {', '.join(shipped)}")
    return Path(name)


def _shipped_folder() -> Path:
    """In a wheel the spaces lie in the package, in a checkout beside it."""
    package = Path(__file__).parent
    within = package / "search_spaces"
    return within if within.is_dir() else package.parent / "search_spaces"


def override(
    space: SearchSpace, changes: Mapping[str, Mapping[str, Any]], where: str
) -> SearchSpace:
    """Return the space with other values in its sections; None changes nothing."""
    content = to_content(space)
    for section, values in changes.items():
        given = {name: value for name, value in values.items() if value is not None}
        content[section] = {**content[section], **given}
    # Fewer epochs than the file had in mind leave nothing to stop early.
    scheduler, epochs = content["scheduler"], content["budget"]["epochs"]
    if isinstance(epochs, int) and epochs >= 1:
        scheduler["grace_period"] = min(scheduler["grace_period"], epochs)
    return parse_space(content, where, Path())


def to_content(space: SearchSpace) -> dict[str, Any]:
    """Return the plain values that `parse_space` reads back to an equal space."""
    return {
        **{name: to_mapping(getattr(space, name)) for name in _SECTIONS},
        "base": space.base,
        "space": {parameter.name: _parameter_content(parameter) for parameter in space.parameters},
        "start": space.start,
    }


def _parameter_content(parameter: Parameter) -> dict[str, Any]:
    content: dict[str, Any] = {parameter.kind: list(parameter.values)}
    if parameter.log:
        content["log"] = True
    if parameter.step is not None:
        content["step"] = parameter.step
    if parameter.when:
        content["when"] = {name: list(values) for name, values in parameter.when.items()}
    return content


def _mapping(content: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    value = content.get(name) or {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {name} is {value!r}; write `name: value` lines under it")
    return value


def _base(base: Mapping[str, Any], where: str, folder: Path) -> dict[str, Any]:
    if "epochs" in base:
        raise ConfigError(f"{where}: epochs is set here; set budget.epochs instead")
    checked = {name: _setting(name, value, where) for name, value in base.items()}
    if checked.get("data_dir"):
        checked["data_dir"] = str((folder / checked["data_dir"]).resolve())
    return checked


def _setting(name: str, value: Any, where: str) -> Any:
    if name not in _FIELDS:
        raise ConfigError(f"{where}: {unknown_name(name, _FIELDS)}")
    return checked_value(_FIELDS[name], _TYPES[name], value, where)


def _parameter(name: str, content: Any, where: str) -> Parameter:
    if name not in _FIELDS:
        raise ConfigError(f"{where}: {unknown_name(name, _FIELDS)}")
    if name in _FIXED:
        raise ConfigError(f"{where}: {name} cannot be searched; {_FIXED[name]}")
    where = f"{where}.{name}"
    kinds = [kind for kind in _KINDS if isinstance(content, Mapping) and kind in content]
    if len(kinds) != 1:
        raise ConfigError(
            f"{where}: write one of float: [low, high], int: [low, high], choice: [a, b, ...]"
        )
    for key in content:
        if key not in (kinds[0], *_OPTIONS):
            raise ConfigError(f"{where}: {unknown_name(key, (kinds[0], *_OPTIONS), 'option')}")
    values = _values(name, kinds[0], content[kinds[0]], where)
    when = _conditions(content.get("when") or {}, where)
    parameter = Parameter(
        name, kinds[0], values, _flag(content, "log", where), content.get("step"), when
    )
    _check_range(parameter, where)
    return parameter


def _values(name: str, kind: str, values: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}: {kind} is {values!r}; write a list with at least one value")
    checked = tuple(_setting(name, value, where) for value in values)
    if kind != "choice" and len(checked) != 2:
        raise ConfigError(f"{where}: {kind} has {len(checked)} values; write [low, high]")
    if kind == "int" and _TYPES[name] is not int:
        raise ConfigError(f"{where}: {name} is not a whole number; use float or choice")
    if kind == "float" and _TYPES[name] is not float:
        raise ConfigError(f"{where}: {name} is not a number with a fraction; use int or choice")
    if len(set(checked)) < len(checked):
        raise ConfigError(f"{where}: {kind} {list(checked)} has a value twice; write each once")
    return checked


def _check_range(parameter: Parameter, where: str) -> None:
    if parameter.kind == "choice":
        if parameter.log or parameter.step is not None:
            raise ConfigError(f"{where}: a choice takes neither log nor step; leave them out")
        return
    low, high = parameter.values
    if low >= high:
        raise ConfigError(f"{where}: low {low} is not below high {high}; swap or widen them")
    if parameter.log and low <= 0:
        raise ConfigError(f"{where}: log needs a low above 0, not {low}")
    if parameter.step is not None:
        _check_step(parameter, high - low, where)


def _check_step(parameter: Parameter, most: Any, where: str) -> None:
    step = parameter.step
    kinds = int if parameter.kind == "int" else int | float
    if isinstance(step, bool) or not (isinstance(step, kinds) and 0 < step <= most):
        whole = "whole, " if parameter.kind == "int" else ""
        raise ConfigError(f"{where}: step is {step!r}; it must be {whole}above 0, at most {most}")
    if parameter.log:
        raise ConfigError(f"{where}: log and step exclude each other; leave one out")


def _flag(content: Mapping[str, Any], name: str, where: str) -> bool:
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {name} is {value!r}; it must be true or false")
    return value


def _conditions(when: Any, where: str) -> dict[str, tuple[Any, ...]]:
    if not isinstance(when, Mapping):
        raise ConfigError(f"{where}: when is {when!r}; write when: {{setting: value}}")
    for name, values in when.items():
        if values == []:
            raise ConfigError(f"{where}, when: {name} has no value; list at least one")
    return {
        name: tuple(
            _setting(name, value, f"{where}, when")
            for value in (values if isinstance(values, list) else [values])
        )
        for name, values in when.items()
    }


def _start(configs: Any, parameters: list[Parameter], where: str) -> list[dict[str, Any]]:
    if not isinstance(configs, list) or not all(isinstance(each, Mapping) for each in configs):
        raise ConfigError(f"{where}: write a list of configs, each `- {{setting: value}}`")
    known = {parameter.name: parameter for parameter in parameters}
    checked = []
    for config in configs:
        for name, value in config.items():
            if name not in known:
                raise ConfigError(f"{where}: {unknown_name(name, known)}")
            if not known[name].holds(_setting(name, value, where)):
                raise ConfigError(
                    f"{where}: {name} is {value!r}, outside its range {list(known[name].values)}"
                )
        checked.append({name: _setting(name, value, where) for name, value in config.items()})
    return checked


def _in_order(parameters: list[Parameter], where: str) -> list[Parameter]:
    """Each parameter after those that its conditions name."""
    names = {parameter.name for parameter in parameters}
    ordered: list[Parameter] = []
    waiting = list(parameters)
    while waiting:
        done = {parameter.name for parameter in ordered}
        ready = [p for p in waiting if all(n in done or n not in names for n in p.when)]
        if not ready:
            cycle = ", ".join(parameter.name for parameter in waiting)
            raise ConfigError(f"{where}: the conditions of {cycle} need each other; remove one")
        ordered += ready
        waiting = [parameter for parameter in waiting if parameter not in ready]
    return ordered


def _check_together(space: SearchSpace, where: str) -> None:
    """Refuse a space that can propose settings which do not go together."""
    for settings in sampled(space, SAMPLES_CHECKED):
        space.config(settings, f"{where} can propose this")
    if space.scheduler.grace_period > space.budget.epochs:
        raise ConfigError(
            f"{where}: scheduler.grace_period is {space.scheduler.grace_period}; it must be at "
            f"most budget.epochs ({space.budget.epochs})"
        )


def sampled(space: SearchSpace, count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield random settings of the space."""
    suggest = RandomSuggest(seed)
    for _ in range(count):
        yield space.sample(suggest)
