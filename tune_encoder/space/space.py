"""What a search space consists of, and the configs it stands for."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Protocol, TypeVar

from tune_encoder.config import (
    BudgetSettings,
    MetricSettings,
    ResourceSettings,
    SchedulerSettings,
    SearcherSettings,
    TrainConfig,
    from_mapping,
    to_mapping,
)
from tune_encoder.errors import ConfigError

MAX_GRID_POINTS = 100_000  # far more than anyone trains; a grid is held in memory
_ON_STEP = 1e-8  # of a step; the tolerance of Optuna


class Suggester(Protocol):
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
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Other settings and the values under which this one is searched."""

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether the conditions hold; one on a setting that is not there does not."""
        return all(settings.get(name) in allowed for name, allowed in self.when.items())

    def sample(self, suggest: Suggester) -> Any:
        """Ask for a value."""
        if self.kind == "choice":
            return suggest.suggest_categorical(self.name, self.values)
        low, high = self.values
        if self.kind == "int":
            return suggest.suggest_int(self.name, low, high, step=int(self.step or 1), log=self.log)
        return suggest.suggest_float(self.name, low, high, step=self.step, log=self.log)

    def contains(self, value: Any) -> bool:
        """Whether the value can be sampled."""
        if self.kind == "choice":
            return value in self.values
        low, high = self.values
        steps = (value - low) / (self.step or 1)
        on_step = self.step is None or abs(steps - round(steps)) < _ON_STEP
        return bool(low <= value <= high and on_step)

    @property
    def n_grid_values(self) -> int | None:
        """How many values a grid takes from it, or None where no step says which."""
        if self.kind == "choice":
            return len(self.values)
        low, high = self.values
        return None if self.step is None else 1 + n_steps(low, high, self.step)

    def grid_value(self, index: int) -> Any:
        """The value of that index, below `n_grid_values`: the choices as written, steps upwards."""
        if self.kind == "choice":
            return self.values[index]
        return value_at_step(self.values[0], self.step, index)


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

    def sample(self, suggest: Suggester, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the settings of one trial: base, then what `suggest` proposes.

        Args:
            suggest: Who proposes values.
            given: Values to take where the trial searches their settings, as those of `start`.
        """
        given = given or {}
        drawn = self._active_values(
            lambda p: given[p.name] if p.name in given else p.sample(suggest)
        )
        return {**self._fixed_settings(), **drawn}

    def searched_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a trial's settings that was searched in it."""
        names = self.searched_names(settings)
        return {name: settings[name] for name in names if name in settings}

    def searched_names(self, settings: Mapping[str, Any]) -> list[str]:
        """Return which settings are searched in a trial, also those that its settings lack."""
        return list(self._active_values(lambda parameter: settings.get(parameter.name)))

    def _active_values(self, value: Callable[[Parameter], Any]) -> dict[str, Any]:
        """A value for each parameter whose conditions hold."""
        drawn: dict[str, Any] = {}
        settings = ChainMap(drawn, self._unsearched_settings)
        for parameter in self.parameters:
            if parameter.applies(settings):
                drawn[parameter.name] = value(parameter)
        return drawn

    def _fixed_settings(self) -> dict[str, Any]:
        return {**to_mapping(TrainConfig()), **self.base, "epochs": self.budget.epochs}

    @cached_property  # a report asks for each mark of a figure
    def _unsearched_settings(self) -> dict[str, Any]:
        """What conditions see before anything is drawn.

        A searched setting is not among them: where its own conditions fail, its default counts
        for none that name it.
        """
        searched = {parameter.name for parameter in self.parameters}
        return {
            name: value for name, value in self._fixed_settings().items() if name not in searched
        }

    def config(self, settings: Mapping[str, Any], where: str = "search space") -> TrainConfig:
        """Return the checked config of a trial's settings."""
        return from_mapping(TrainConfig, settings, where)

    def first_configs(self) -> list[dict[str, Any]]:
        """The configs to try first: those given, else the defaults as far as they are in range."""
        if self.start:
            return self.start
        defaults = {**to_mapping(TrainConfig()), **self.base}
        return [{p.name: defaults[p.name] for p in self.parameters if p.contains(defaults[p.name])}]

    @property
    def n_trials(self) -> int:
        """How many trials a search has: its budget, or the points of a grid that is smaller."""
        budget = self.budget.trials
        return min(budget, len(self.grid())) if self.searcher.name == "grid" else budget

    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the searched settings, each once, the last setting changing first.

        Raises:
            ConfigError: if a setting has no steps, or there are over `MAX_GRID_POINTS`.
        """
        unsearched = self._unsearched_settings
        configs: list[dict[str, Any]] = [{}]
        for parameter in self.parameters:
            n_points = _n_grid_values(parameter)
            wide = [parameter.applies(ChainMap(config, unsearched)) for config in configs]
            if sum(n_points if each else 1 for each in wide) > MAX_GRID_POINTS:
                raise ConfigError(
                    f"the grid has over {MAX_GRID_POINTS:,} points; list fewer choices, or widen "
                    "the steps"
                )
            configs = [
                {**config, parameter.name: parameter.grid_value(i)} if each else config
                for config, each in zip(configs, wide, strict=True)
                for i in range(n_points if each else 1)
            ]
        return configs


def _n_grid_values(parameter: Parameter) -> int:
    if parameter.n_grid_values is None:
        remedy = "write it as a choice" if parameter.log else "give it one, or write a choice"
        raise ConfigError(
            f"a grid needs steps, and space.{parameter.name} is a range without a step; {remedy}"
        )
    return parameter.n_grid_values


Number = TypeVar("Number", int, float)


def range_width(low: Number, high: Number) -> Number:
    """How far apart the ends are."""
    return type(low)(_decimal(high) - _decimal(low))


def n_steps(low: float, high: float, step: float) -> int:
    """How many whole steps lead from `low` towards `high`."""
    return int((_decimal(high) - _decimal(low)) / _decimal(step))


def value_at_step(low: Number, step: float, index: int) -> Number:
    """The value so many steps above `low`."""
    return type(low)(_decimal(low) + index * _decimal(step))


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))
