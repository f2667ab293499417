"""Tasks on which searches are compared: the learning curves of many configs, read from a folder.

A folder has `scale.json`, with the best known value of each task and that of a median random config
trained fully, and tasks of two kinds:

    *.npz          a table of recorded curves: `space`, the section of that name as JSON, or
                   `names`, `low` and `high` of parameters that are all logarithmic; `U`, configs in
                   the unit cube (n, parameters); `Y`, curves (n, epochs). A config has the curve of
                   its nearest neighbour.
    lcbench.json   tasks of the LCBench surrogate of YAHPO Gym, by name, and their codes there;
                   `lcbench.onnx` is the network, in the folder or its parent

Lower values are better.
"""

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import (
    BudgetSettings,
    MetricSettings,
    ResourceSettings,
    SchedulerSettings,
    SearcherSettings,
    ValidationSettings,
)
from tune_encoder.experiment.portfolio import cover
from tune_encoder.space import Parameter, SearchSpace
from tune_encoder.space.parameters import read_parameters
from tune_encoder.space.unit_cube import UnitCube

EPOCHS = 50
SHIPPED = Path(__file__).with_name("curves")  # what `record_curves` wrote
MANY_CONFIGS = Path(__file__).with_name("many_configs")  # the same, of fewer data sets
MOST_TRIALS = 100_000  # what may be planned: the epochs end a search first
WORST_REGRET = 1.5
_SPEED_SIGMA = 0.25  # of the logarithm of an epoch's duration, between configs
_POOL = 200  # random configs from which starts are chosen
_LCBENCH = (
    Parameter("batch_size", "int", (16, 512), log=True),
    Parameter("learning_rate", "float", (1e-4, 1e-1), log=True),
    Parameter("momentum", "float", (0.1, 0.99)),
    Parameter("weight_decay", "float", (1e-5, 1e-1)),
    Parameter("num_layers", "int", (1, 5)),
    Parameter("max_units", "int", (64, 1024), log=True),
    Parameter("max_dropout", "float", (0.0, 1.0)),
)

Config = dict[str, Any]
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Task(ABC):
    """What a search is tried on."""

    name: str
    parameters: Sequence[Parameter]
    best: float
    """The best value known."""
    median: float
    """The value of a median random config that is trained fully."""

    @cached_property
    def space(self) -> SearchSpace:
        """What is searched, with a budget that only the epochs of all trials end."""
        return SearchSpace(
            MetricSettings(),
            BudgetSettings(trials=MOST_TRIALS, epochs=EPOCHS),
            SchedulerSettings(),
            SearcherSettings(),
            ResourceSettings(),
            ValidationSettings(),
            {},
            [*self.parameters],
            [],
        )

    @cached_property
    def cube(self) -> UnitCube:
        """The configs as points."""
        return UnitCube(self.space)

    @abstractmethod
    def curve(self, config: Config) -> Curve:
        """Return the value of each epoch."""

    def seconds(self, config: Config) -> float:
        """Return how long an epoch takes: about one second, and always the same for a config."""
        key = zlib.crc32(self.unit(config).round(9).tobytes())
        return float(np.exp(_SPEED_SIGMA * np.random.default_rng(key).standard_normal()))

    def unit(self, config: Config) -> NDArray[np.float64]:
        """Return a config's place among the columns of the unit cube."""
        (place,) = self.cube.columns(np.array([self.cube.coordinates(config)]))
        return np.asarray(place)

    def draw(self, random: np.random.Generator) -> Config:
        """Draw a random config."""
        return self.cube.settings(self.cube.draw(1, random)[0])

    def regret(self, value: float) -> float:
        """Scale a value: 0 is the best known, 1 a median random config; at most 1.5."""
        scaled = (value - self.best) / (self.median - self.best)
        return min(WORST_REGRET, max(0.0, scaled))


@dataclass(frozen=True)
class TableTask(Task):
    """Curves that were recorded."""

    coordinates: NDArray[np.float64]
    """(n, parameters) in the unit cube."""
    curves: NDArray[np.float64]
    """(n, epochs)"""

    @cached_property
    def places(self) -> NDArray[np.float64]:
        """(n, columns) of the unit cube."""
        columns: NDArray[np.float64] = self.cube.columns(self.coordinates)
        return columns

    def curve(self, config: Config) -> Curve:
        """Return the curve of the nearest config of the table."""
        distances = ((self.places - self.unit(config)) ** 2).sum(axis=1)
        nearest: Curve = self.curves[distances.argmin()]
        return nearest


@dataclass(frozen=True)
class SurrogateTask(Task):
    """Curves of the LCBench surrogate: the validation error as a fraction."""

    code: int
    network: Path
    known: dict[tuple[float, ...], Curve] = field(default_factory=dict)

    def curve(self, config: Config) -> Curve:
        """Ask the network, once for each config."""
        key = tuple(config[parameter.name] for parameter in self.parameters)
        if key not in self.known:
            epochs = np.arange(1, EPOCHS + 1)[:, None]
            continuous = np.hstack([epochs, np.tile(key, (EPOCHS, 1))]).astype(np.float32)
            codes = np.full((EPOCHS, 1), self.code, np.int32)
            feed = {"x_cat": codes, "x_cont": continuous}
            (answer,) = _session(self.network).run(None, feed)
            self.known[key] = 1 - np.asarray(answer[:, 1], float) / 100
        return self.known[key]


@cache
def _session(network: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])


def read_testbed(folder: Path) -> list[Task]:
    """Read all tasks of a folder, in the order of their names.

    Raises:
        SystemExit: if it has none, or lacks what a task needs.
    """
    tables, surrogate = sorted(folder.glob("*.npz")), folder / "lcbench.json"
    if not tables and not surrogate.exists():
        raise SystemExit(f"{folder}: no tasks; a testbed has *.npz or lcbench.json")
    scale = json.loads(_existing(folder / "scale.json").read_text())
    codes = json.loads(surrogate.read_text()) if surrogate.exists() else {}
    if missing := {*(path.stem for path in tables), *codes} - scale.keys():
        raise SystemExit(f"{folder / 'scale.json'}: lacks {', '.join(sorted(missing))}")
    tasks: list[Task] = [_read_table(path, scale[path.stem]) for path in tables]
    if codes:
        network = _existing(folder / "lcbench.onnx", folder.parent / "lcbench.onnx")
        for name, code in codes.items():
            best, median = scale[name]
            tasks.append(SurrogateTask(name, _LCBENCH, best, median, code, network))
    return sorted(tasks, key=lambda task: task.name)


def _existing(*paths: Path) -> Path:
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise SystemExit(f"{paths[0]}: missing; a testbed needs it")
    return found


def _read_table(path: Path, scale: tuple[float, float]) -> TableTask:
    with np.load(path) as content:
        parameters = _parameters(content, path)
        coordinates, curves = content["U"].astype(float), content["Y"].astype(float)
    return TableTask(path.stem, parameters, *scale, coordinates, curves)


def _parameters(content: Mapping[str, NDArray[Any]], path: Path) -> list[Parameter]:
    if "space" in content:
        return read_parameters(json.loads(content["space"].item()), str(path))
    ranges = zip(content["names"], content["low"], content["high"], strict=True)
    return [
        Parameter(str(name), "float", (float(low), float(high)), log=True)
        for name, low, high in ranges
    ]


def learned_starts(task: Task, tasks: Sequence[Task], n: int, seed: int) -> list[Config]:
    """Choose configs that are good on the other tasks with the same parameters.

    They are chosen among 200 random ones by the rule of `experiment.portfolio`.
    """
    names = [parameter.name for parameter in task.parameters]
    others = [t for t in tasks if t is not task and [p.name for p in t.parameters] == names]
    if not others:
        return []
    random = np.random.default_rng([seed, zlib.crc32(task.name.encode())])
    configs = [task.draw(random) for _ in range(_POOL)]
    regrets = np.array([[t.regret(t.curve(c).min()) for c in configs] for t in others])
    places = np.array([task.unit(config) for config in configs])
    return [configs[i] for i in cover(regrets / WORST_REGRET, places, n)]
