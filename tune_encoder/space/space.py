"""A search space, its parameters, and the configs that can be sampled from it."""

import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Protocol, TypedDict, TypeVar

from tune_encoder.config import (
    CLOSED_FORM,
    CLOSED_FORM_CONFIG,
    MEASURES,
    SIMILARITY,
    BudgetSettings,
    MetricSettings,
    ReportSettings,
    ResourceSettings,
    SchedulerSettings,
    SearcherSettings,
    SettingValue,
    SimilaritySettings,
    TrackingSettings,
    TrainConfig,
    ValidationSettings,
    from_mapping,
    to_mapping,
)
from tune_encoder.errors import ConfigError
from tune_encoder.space.constraints import Constraint

MAX_GRID_POINTS = 100_000  # far more than anyone trains; the grid is kept in memory
_WORK_OF_A_STEP = ("batch_size", "crop_seconds")
_WINDOWS = ("crop_seconds", "crop_seconds_min")
ConfigKey = frozenset[tuple[str, SettingValue]]
_ON_STEP = 1e-8  # tolerance as a fraction of a step, as in Optuna


class Suggester(Protocol):
    """Anything that suggests values, such as an `optuna.Trial`."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Suggest a number."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Suggest a whole number."""

    def suggest_categorical(self, name: str, choices: Sequence[SettingValue]) -> SettingValue:
        """Suggest one of the choices."""


@dataclass(frozen=True)
class Parameter:
    """One searched setting."""

    name: str
    kind: str
    """float, int or choice"""
    values: tuple[SettingValue, ...]
    """Lowest and highest, or the choices."""
    log: bool = False
    step: float | None = None
    when: Mapping[str, tuple[SettingValue, ...]] = field(default_factory=dict)
    """Other settings and the values under which this one is searched."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value, of a range."""
        low, high = self.values
        assert isinstance(low, int | float)
        assert isinstance(high, int | float)
        return low, high

    def applies(self, settings: Mapping[str, SettingValue]) -> bool:
        """Whether all conditions are met; one on a setting that is missing is not."""
        return all(settings.get(name) in allowed for name, allowed in self.when.items())

    def sample(self, suggest: Suggester) -> SettingValue:
        """Ask for a value of this parameter."""
        if self.kind == "choice":
            return suggest.suggest_categorical(self.name, self.values)
        low, high = self.bounds
        if self.kind == "int":
            step = int(self.step or 1)
            return suggest.suggest_int(self.name, int(low), int(high), step=step, log=self.log)
        return suggest.suggest_float(self.name, low, high, step=self.step, log=self.log)

    def contains(self, value: object) -> bool:
        """Whether the value can be sampled."""
        if self.kind == "choice":
            return value in self.values
        if not isinstance(value, int | float):
            return False
        low, high = self.bounds
        steps = (value - low) / (self.step or 1)
        on_step = self.step is None or abs(steps - round(steps)) < _ON_STEP
        return low <= value <= high and on_step

    def nearest(self, value: float) -> float:
        """Return the number of a range that is nearest to `value`."""
        low, high = self.bounds
        inside = min(max(value, low), high)
        if (step := self._spacing) is None:
            return inside
        index = min(round((inside - low) / step), n_steps(low, high, step))
        return value_at_step(low, step, index)

    @property
    def _spacing(self) -> float | None:
        """Difference of neighbouring values of a range; None if any number is a value."""
        return self.step or (1 if self.kind == "int" else None)

    @property
    def n_values(self) -> int | None:
        """How many values it has; None for a range of any numbers."""
        if self.kind == "choice":
            return len(self.values)
        low, high = self.bounds
        return None if self._spacing is None else 1 + n_steps(low, high, self._spacing)

    def value_at(self, index: int) -> SettingValue:
        """Return the value of an index below `n_values`, in ascending steps."""
        if self._spacing is None or self.kind == "choice":
            return self.values[index]
        return value_at_step(self.bounds[0], self._spacing, index)


class SpaceContent(TypedDict, total=False):
    """A space in plain values, as its YAML file has it."""

    metric: dict[str, SettingValue]
    budget: dict[str, SettingValue]
    scheduler: dict[str, SettingValue]
    searcher: dict[str, SettingValue]
    resources: dict[str, SettingValue]
    validation: dict[str, SettingValue]
    report: dict[str, SettingValue]
    similarity: dict[str, SettingValue]
    tracking: dict[str, SettingValue]
    base: dict[str, SettingValue]
    space: dict[str, dict[str, object]]
    start: list[dict[str, SettingValue]]
    constraints: dict[str, dict[str, float]]


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, how, and with which budget and resources."""

    metric: MetricSettings
    budget: BudgetSettings
    scheduler: SchedulerSettings
    searcher: SearcherSettings
    resources: ResourceSettings
    validation: ValidationSettings
    base: dict[str, SettingValue]
    """Settings that all trials share."""
    parameters: list[Parameter]
    """The searched settings; each comes after those its conditions depend on."""
    start: list[dict[str, SettingValue]]
    """Configs to try first."""
    constraints: tuple[Constraint, ...] = ()
    """Limits that the best trial keeps."""
    report: ReportSettings = field(default_factory=ReportSettings)
    similarity: SimilaritySettings = field(default_factory=SimilaritySettings)
    """Without effect unless the search `listens`."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    name: str = field(default="", compare=False)
    """Of its file, or of the built-in space; empty if it is in no file."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The quantities of a config that its trials measure, for a metric or a constraint."""
        return tuple(name for name in MEASURES if name in self._quantities)

    @property
    def listens(self) -> bool:
        """Whether its trials measure `SIMILARITY`, for a metric or a constraint."""
        return SIMILARITY in self._quantities

    @property
    def _quantities(self) -> tuple[str, ...]:
        """What it compares or limits."""
        return (*self.metric.names, *(each.name for each in self.constraints))

    def sample(
        self, suggest: Suggester, given: Mapping[str, SettingValue] | None = None
    ) -> dict[str, SettingValue]:
        """Return the settings of one trial: those of base, then those that are suggested.

        Args:
            suggest: Suggests values.
            given: Values, such as those of `start`, to use instead of suggestions.
        """
        given = given or {}
        sampled = self._active_values(
            lambda p: given[p.name] if p.name in given else p.sample(suggest)
        )
        return self._with_equal_work({**self._fixed_settings, **sampled})

    def _with_equal_work(self, settings: dict[str, SettingValue]) -> dict[str, SettingValue]:
        """Adapt the least steps of an epoch to a trial's batches, so that all trials do equal work.

        The trials with the largest batches have `steps_per_epoch` as it is, the others more.
        """
        largest = math.prod(self._largest(name) for name in _WORK_OF_A_STEP)
        own = math.prod(_number(settings[name]) for name in _WORK_OF_A_STEP)
        steps = _number(settings["steps_per_epoch"])
        # Rounded first, as 0.3 / 0.1 is above 3.
        return {**settings, "steps_per_epoch": math.ceil(round(steps * largest / own, 6))}

    def _largest(self, name: str) -> float:
        """The largest value of a setting that any trial can have."""
        searched = [parameter for parameter in self.parameters if parameter.name == name]
        fixed = [] if searched and not searched[0].when else [self._fixed_settings[name]]
        return max(_number(n) for n in (*fixed, *(v for each in searched for v in each.values)))

    def searched_settings(self, settings: Mapping[str, SettingValue]) -> dict[str, SettingValue]:
        """Return those of a trial's settings that were searched in it."""
        names = self.searched_names(settings)
        return {name: settings[name] for name in names if name in settings}

    def searched_names(self, settings: Mapping[str, SettingValue]) -> list[str]:
        """Return which settings are searched in a trial, even if they are missing there."""
        if self.is_closed_form(settings):
            return []
        return list(self._active_values(lambda parameter: settings.get(parameter.name)))

    def _active_values(self, value: Callable[[Parameter], SettingValue]) -> dict[str, SettingValue]:
        """Return a value for each parameter whose conditions are met."""
        sampled: dict[str, SettingValue] = {}
        settings = ChainMap(sampled, self.unsearched_settings)
        for parameter in self.parameters:
            if parameter.applies(settings):
                sampled[parameter.name] = value(parameter)
        return sampled

    def closed_form_settings(self) -> dict[str, SettingValue]:
        """Return the settings of the trial that tries the closed-form encoder; see `searcher`."""
        default = TrainConfig()
        windows = {name: getattr(default, name) for name in _WINDOWS}  # those it was fitted to
        return {**self._fixed_settings, **CLOSED_FORM_CONFIG, **windows}

    def is_closed_form(self, settings: Mapping[str, SettingValue]) -> bool:
        """Whether a trial has the closed-form encoder, without having searched for it."""
        searched = next((p for p in self.parameters if p.name in CLOSED_FORM_CONFIG), None)
        return CLOSED_FORM_CONFIG.items() <= settings.items() and not (
            searched is not None and searched.contains(CLOSED_FORM)
        )

    @cached_property  # each sample asks for it several times
    def _fixed_settings(self) -> dict[str, SettingValue]:
        return {**to_mapping(TrainConfig()), **self.base, "epochs": self.budget.epochs}

    @cached_property  # a report asks for each mark of a figure
    def unsearched_settings(self) -> dict[str, SettingValue]:
        """The settings that conditions see before anything is sampled.

        Searched settings are left out: where the conditions of one are not met, its default must
        not meet the conditions of others.
        """
        searched = {parameter.name for parameter in self.parameters}
        return {name: value for name, value in self._fixed_settings.items() if name not in searched}

    @property
    def data_dir(self) -> str:
        """Folder of the data, if the space names it; else empty."""
        return str(self.base.get("data_dir") or "")

    def base_config(self) -> TrainConfig:
        """Return the config of the settings that all trials share."""
        return from_mapping(TrainConfig, self.base, "base")

    def config(self, settings: Mapping[str, object], where: str = "search space") -> TrainConfig:
        """Return the checked config of a trial's settings."""
        return from_mapping(TrainConfig, settings, where)

    def first_configs(self) -> list[dict[str, SettingValue]]:
        """Return the configs to try first: those of `start`, else the defaults within range."""
        if self.start:
            return self.start
        defaults = {**to_mapping(TrainConfig()), **self.base}
        return [{p.name: defaults[p.name] for p in self.parameters if p.contains(defaults[p.name])}]

    @property
    def n_trials(self) -> int:
        """How many trials a search may start: its budget, or all configs if they are fewer."""
        if self.n_configs is None:
            return self.most_trials
        return min(self.most_trials, self.n_configs + self.searcher.closed_form)

    @property
    def most_trials(self) -> int:
        """How many trials the budget allows."""
        return self.budget.trials or self._n_trials_of_epochs

    @cached_property  # asked for before every trial, and they may be many
    def n_configs(self) -> int | None:
        """How many configs there are; None if they are more than the budget allows trials.

        Also None where nothing is searched: earlier versions then trained the same again.
        """
        most = MAX_GRID_POINTS if self.constraints else self.most_trials  # some may be refused
        configs = self.all_configs(most) if self.parameters else None
        return None if configs is None else len(configs)

    @property
    def _n_trials_of_epochs(self) -> int:
        """How many trials `total_epochs` allows if each is stopped as early as can be."""
        closed_form = int(self.searcher.closed_form)  # of one epoch
        others = self.budget.total_epochs - closed_form
        return closed_form + others // self.scheduler.least_epochs(self.budget.epochs)

    def grid(self) -> list[dict[str, SettingValue]]:
        """Return every combination of the searched settings once, the last setting changing first.

        Raises:
            ConfigError: if a setting has no steps, or there are over `MAX_GRID_POINTS`.
        """
        configs = self._combinations(MAX_GRID_POINTS, _n_grid_values)
        if configs is None:
            raise ConfigError(
                f"the grid has over {MAX_GRID_POINTS:,} points; list fewer choices, or use "
                "larger steps"
            )
        return configs

    def all_configs(self, most: int) -> list[dict[str, SettingValue]] | None:
        """Return every config that can be sampled, or None if there are more than `most`."""
        return self._combinations(most, lambda each: each.n_values or most + 1)

    def _combinations(
        self, most: int, n_values: Callable[[Parameter], int]
    ) -> list[dict[str, SettingValue]] | None:
        """Combine the values of all parameters; return None for more than `most` combinations."""
        unsearched = self.unsearched_settings
        configs: list[dict[str, SettingValue]] = [{}]
        for parameter in self.parameters:
            n_points = n_values(parameter)
            wide = [parameter.applies(ChainMap(config, unsearched)) for config in configs]
            if sum(n_points if each else 1 for each in wide) > most:
                return None
            configs = [
                {**config, parameter.name: parameter.value_at(i)} if each else config
                for config, each in zip(configs, wide, strict=True)
                for i in range(n_points if each else 1)
            ]
        return configs

    def config_key(self, settings: Mapping[str, SettingValue]) -> ConfigKey | None:
        """Return what a trial's settings have in common with those of the same config.

        Settings that are not searched in it do not count. The closed-form encoder, and settings of
        which one that is searched is missing, have no key.
        """
        names = self.searched_names(settings)
        if not names or not settings.keys() >= {*names}:
            return None
        searched = (each for each in self.parameters if each.name in names)
        return frozenset((each.name, _exact_value(each, settings[each.name])) for each in searched)


def _exact_value(parameter: Parameter, value: SettingValue) -> SettingValue:
    """Return a value without the rounding error that samplers make where a range has steps."""
    if parameter.step is None or not isinstance(value, int | float):
        return value
    return parameter.nearest(value)


def _n_grid_values(parameter: Parameter) -> int:
    if parameter.kind != "choice" and parameter.step is None:
        remedy = "write it as a choice" if parameter.log else "add a step, or write it as a choice"
        raise ConfigError(
            f"a grid needs steps, and space.{parameter.name} is a range without a step; {remedy}"
        )
    assert parameter.n_values is not None
    return parameter.n_values


def _number(value: SettingValue) -> float:
    assert isinstance(value, int | float)
    return value


Number = TypeVar("Number", int, float)


def range_width(low: Number, high: Number) -> Number:
    """Return the difference between the ends, exact in decimals."""
    return type(low)(_decimal(high) - _decimal(low))


def n_steps(low: float, high: float, step: float) -> int:
    """Return how many whole steps fit between `low` and `high`."""
    return int((_decimal(high) - _decimal(low)) / _decimal(step))


def value_at_step(low: Number, step: float, index: int) -> Number:
    """Return the value `index` steps above `low`."""
    return type(low)(_decimal(low) + index * _decimal(step))


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))
