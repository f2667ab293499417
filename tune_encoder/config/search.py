"""Settings of a search: its metric, budget, scheduler, searcher, resources and validation."""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tune_encoder.config.listening import ReportSettings, SimilaritySettings
from tune_encoder.config.tracking import TrackingSettings
from tune_encoder.config.training import setting
from tune_encoder.errors import ConfigError

DEFAULT_ROOT = Path("runs")  # folder of experiments
_MINIMIZED = ("val_loss",)
_MAXIMIZED = (
    "val_skill",
    "val_skill_ttl",
    "val_skill_dp",
    "val_centered_cosine",
    "val_retrieval",
)
PARAMETERS = "parameters"  # number of trainable parameters of the encoder
CLONE_MS = "clone_ms"  # milliseconds to encode a clip of five seconds on one thread
MEASURES = (PARAMETERS, CLONE_MS)  # quantities of a config that no epoch changes
SIMILARITY = "val_similarity"  # of speech in predicted and true styles; not measured every epoch
_METRICS = (*_MINIMIZED, *_MAXIMIZED)
QUANTITIES = (
    *_METRICS, "val_cosine", "val_spread", "val_ttl_mse", "val_dp_mse", "train_loss", "seconds",
    *MEASURES, SIMILARITY,
)  # fmt: skip
"""What can be limited by a constraint: what a row of a trial has."""


@dataclass(frozen=True, kw_only=True)
class MetricSettings:
    """The metric by which trials are compared, or two between which a choice is wanted."""

    name: str = setting("val_loss", "metric of an epoch", choices=_METRICS)
    mode: str = setting("auto", "whether lower or higher is better", choices=("auto", "min", "max"))
    second: str | None = setting(
        None,
        "a second metric, of which trials may have less if they have more of the first",
        choices=(*_METRICS, *MEASURES, SIMILARITY),
    )

    def __post_init__(self) -> None:
        if self.mode not in ("auto", self.direction):
            raise ConfigError(
                f"mode is {self.mode}, but the {self.direction} of {self.name} is best; write auto"
            )
        if self.second == self.name:
            raise ConfigError(f"second is {self.second}, as is name; name another metric, or none")

    @property
    def names(self) -> tuple[str, ...]:
        """The metric, and the second one if there is one."""
        return (self.name, self.second) if self.second else (self.name,)

    @property
    def direction(self) -> str:
        """The better direction, "min" or "max"."""
        return better_direction(self.name)

    @property
    def directions(self) -> tuple[str, ...]:
        """The better direction of each metric."""
        return tuple(map(better_direction, self.names))

    @cached_property  # asked for with every epoch that is shown
    def sign(self) -> float:
        """Factor that makes the metric one to minimize."""
        return 1.0 if self.direction == "min" else -1.0


def better_direction(name: str) -> str:
    """Return the better direction of a metric, "min" or "max"."""
    return "max" if name in (*_MAXIMIZED, SIMILARITY) else "min"


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """When a search ends: as soon as one of these limits is reached."""

    trials: int = setting(
        16, "number of trials; 0: as many as total_epochs allows", minimum=0, maximum=100_000
    )
    epochs: int = setting(
        27, "epochs of a trial that is not stopped early", minimum=1, maximum=100_000
    )
    total_epochs: int = setting(
        0,
        "epochs of all trials together, give or take one per worker; 0: no limit",
        minimum=0,
        maximum=100_000_000,
    )
    time: str = setting("", "time limit of one launch, such as 90m or 2h; empty: no limit")
    target: float | None = setting(None, "value of the metric at which the search ends")
    until: str = setting(
        "budget",
        "what ends a search: the budget, or before it that the next trial would gain less than the "
        "noise",
        choices=("budget", "noise"),
    )
    seeds: int = setting(
        1, "seeds to confirm the best configs with; 1: no confirmation", minimum=1, maximum=32
    )

    def __post_init__(self) -> None:
        if self.time and self.time_s is None:
            raise ConfigError(f"time is {self.time!r}; write it as 45s, 90m, 2h or 1d")
        if not self.trials and not self.total_epochs:
            raise ConfigError("trials is 0; it must be a whole number from 1 to 100000")

    @property
    def time_s(self) -> float | None:
        """`time` in seconds, or None without a limit."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", self.time)
        seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
        return float(found[1]) * seconds[found[2]] if found else None


CONFIRMED_CONFIGS = 3  # of the best configs are trained again with further seeds


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """Which trials are stopped early."""

    name: str = setting(
        "promote",
        "early-stopping rule",
        choices=("asha", "asha-promote", "promote", "hyperband", "median", "none"),
    )
    grace_period: int = setting(
        1, "epochs before a trial can be stopped", minimum=1, maximum=10_000
    )
    reduction_factor: float = setting(
        3.0, "one in this many trials is promoted at each rung", minimum=1.1, maximum=100.0
    )
    brackets: int = setting(
        3, "brackets of hyperband, each with its own grace period", minimum=1, maximum=10
    )

    @property
    def stops_early(self) -> bool:
        """Whether any trial is stopped before its last epoch."""
        return self.name != "none"

    @property
    def has_rungs(self) -> bool:
        """Whether trials are compared at rungs, as in successive halving."""
        return self.name in ("asha", "hyperband") or self.promotes

    @property
    def promotes(self) -> bool:
        """Whether trials wait at a rung, without a worker, until they are promoted."""
        return self.name == "promote" or self.fills_rungs

    @property
    def fills_rungs(self) -> bool:
        """Whether trials wait until it is known which are the best, after the last has started.

        Searches made by earlier versions may do so; `promote` has replaced it.
        """
        return self.name == "asha-promote"

    @property
    def n_brackets(self) -> int:
        """How many groups of trials have their own rungs."""
        return self.brackets if self.name == "hyperband" else 1

    def least_epochs(self, epochs: int) -> int:
        """Return the fewest epochs that a trial of `epochs` has if nothing else ends it."""
        if not self.stops_early:
            return epochs
        return min(math.ceil(self.first_rung(0)), epochs)

    def first_rung(self, bracket: int) -> float:
        """Return the epochs after which a bracket's first rung is due; may be a fraction."""
        return self.grace_period * self.reduction_factor**bracket


@dataclass(frozen=True, kw_only=True)
class SearcherSettings:
    """How configs are proposed."""

    name: str = setting("random", "sampler", choices=("tpe", "random", "grid", "gp", "nsga2"))
    startup_trials: int = setting(
        8, "random trials before the sampler's model is used", minimum=1, maximum=10_000
    )
    seed: int = setting(0, "seed of the sampler and of every trial", minimum=0, maximum=2**31 - 1)
    closed_form: bool = setting(True, "try the closed-form encoder first, as trial 0")


@dataclass(frozen=True, kw_only=True)
class ResourceSettings:
    """The resources of a trial, and how many trials run at once."""

    cpus: int = setting(1, "CPU cores per trial", minimum=1, maximum=1024)
    gpus: float = setting(
        0.0, "GPUs per trial; with a fraction trials share a GPU", minimum=0.0, maximum=64.0
    )
    concurrent: int = setting(0, "trials at once; 0: as many as fit", minimum=0, maximum=10_000)
    processes: int = setting(
        0, "processes that train one trial; 0: one per whole GPU", minimum=0, maximum=64
    )
    keep: int = setting(
        2, "checkpoints kept per trial: the best, then the newest", minimum=2, maximum=10_000
    )
    retries: int = setting(2, "retries of a trial whose worker died", minimum=0, maximum=100)

    def __post_init__(self) -> None:
        together = self.processes_per_trial
        unused = self.gpus > 1 and self.gpus != together
        if unused or (self.gpus <= 1 < together and self.cpus < together):
            raise ConfigError(
                f"a trial has {together} processes for {self.gpus:g} GPUs and {self.cpus} CPUs; "
                "give each process one GPU, or without GPUs one CPU"
            )

    @property
    def processes_per_trial(self) -> int:
        """How many processes train one trial."""
        return self.processes or max(1, int(self.gpus))


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """On which voices trials are scored."""

    voices: int = setting(
        0,
        "folds of whole voices of train and val that trials are scored on; 1: the val split; 0: "
        "chosen when the search starts",
        minimum=0,
        maximum=1000,
    )

    @property
    def folds(self) -> int:
        """Number of folds; 1 is the val split, which searches without this choice used."""
        return max(1, self.voices)


# The sections of a space's file that are settings.
SECTIONS: dict[str, type[Any]] = {
    "metric": MetricSettings,
    "budget": BudgetSettings,
    "scheduler": SchedulerSettings,
    "searcher": SearcherSettings,
    "resources": ResourceSettings,
    "validation": ValidationSettings,
    "report": ReportSettings,
    "similarity": SimilaritySettings,
    "tracking": TrackingSettings,
}
# The options of a search that override settings of its space, and the settings that each changes.
OVERRIDES = {
    "trials": [("budget", "trials")],
    "epochs": [("budget", "epochs")],
    "total_epochs": [("budget", "total_epochs")],
    "time": [("budget", "time")],
    "until": [("budget", "until")],
    "concurrent": [("resources", "concurrent")],
    "seed": [("searcher", "seed"), ("base", "seed")],
    "folds": [("validation", "voices")],
    "mlflow": [("tracking", "mlflow")],
    "wandb": [("tracking", "wandb")],
}
# The settings that can be changed when a search is resumed, by section.
EXTENSIONS = {
    **dict.fromkeys(("trials", "epochs", "total_epochs", "time", "target", "until"), "budget"),
    "concurrent": "resources",
    **dict.fromkeys(("mlflow", "wandb"), "tracking"),
}
FORK_OVERRIDES = ("trials", "epochs", "concurrent", "mlflow", "wandb")  # those that `fork` takes
