"""Replay recorded learning curves through the schedulers, on a simulated clock.

    python -m tests.benchmarks.simulate
    python -m tests.benchmarks.simulate --workers 8 --searcher tpe

The searcher, the scheduler and the rules are those of a search; see `simulated.search`. Configs
come from a table of trials that were trained fully.
"""

import argparse
import dataclasses
import json
import math
import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import Trial

from tests.benchmarks.simulated.search import MemoryRecord, SimulatedSearch
from tune_encoder.config import SettingValue
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import Parameter, SearchSpace, override_space, parse_space
from tune_encoder.space.plan import rung_epochs
from tune_encoder.tuning.driver.early_stopping import EarlyStoppingRule, PromotionRule, make_rule

CURVES = Path(__file__).with_name("curves.json")
STOCK, OURS = "asha", "asha-promote"


@dataclass(frozen=True)
class Table:
    """What `record_curves` trained."""

    space: SearchSpace
    settings: list[dict[str, Any]]
    losses: list[list[float]]
    """Validation loss of each config at each epoch."""
    seconds: list[list[float]]

    @classmethod
    def read(cls, path: Path) -> "Table":
        content = json.loads(path.read_text())
        columns = (
            [t[name] for t in content["trials"]] for name in ("settings", "val_loss", "seconds")
        )
        return cls(parse_space(content["space"], str(path), Path()), *columns)

    def nearest(self, settings: dict[str, Any], among: list[int]) -> int:
        """The config that lies nearest in the unit cube of the searched settings."""
        return min(among, key=lambda i: self._distance(settings, self.settings[i]))

    def _distance(self, one: dict[str, Any], other: dict[str, Any]) -> float:
        return sum(_gap(p, one[p.name], other[p.name]) ** 2 for p in self.space.parameters)


def _gap(parameter: Parameter, one: Any, other: Any) -> float:
    if parameter.kind == "choice":
        return float(one != other)
    scale = math.log if parameter.log else float
    low, high, first, second = map(scale, (*parameter.values, one, other))
    return (first - second) / (high - low)


class TableRecord(MemoryRecord):
    """A record in memory whose trials are configs of the table, each at most once."""

    def __init__(self, space: SearchSpace, table: Table) -> None:
        super().__init__(space)
        self.configs: dict[int, int] = {}
        """Place in the table of each trial."""
        self._table = table
        self._left = list(range(len(table.settings)))
        random.Random(space.searcher.seed).shuffle(self._left)

    def _settings(self, trial: Trial) -> dict[str, SettingValue]:
        """Take the next config of the shuffled table, or the nearest to what is proposed."""
        proposes = self.space.searcher.name != "random"
        config = self._nearest(trial) if proposes else self._left[0]
        self._left.remove(config)
        self.configs[trial.number] = config
        return {}

    def _nearest(self, trial: Trial) -> int:
        """Let the study believe that the nearest config was proposed."""
        config = self._table.nearest(self.space.sample(trial), self._left)
        for name, kind in trial.distributions.items():  # no public call sets what is proposed
            value = kind.to_internal_repr(self._table.settings[config][name])
            trial.storage.set_trial_param(trial._trial_id, name, value, kind)
        return config


@dataclass(frozen=True)
class Outcome:
    """What one simulated search came to."""

    epochs: int
    """Spent by all trials together."""
    to_best: int
    """Spent when the best loss was met."""
    best: float
    regret: float
    """Best loss minus that of full training of all configs in reach."""
    makespan: float
    """Simulated time from the first epoch's begin to the last one's end."""


def simulate(
    table: Table, space: SearchSpace, rule: EarlyStoppingRule, workers: int, timed: bool
) -> Outcome:
    """Run one search over the table to its end."""
    record = TableRecord(space, table)

    def look_up(curves: list[list[float]], trial: TrialRecord, epoch: int) -> float:
        return curves[record.configs[trial.number]][epoch - 1]

    seconds = partial(look_up, table.seconds) if timed else lambda trial, epoch: 1.0
    search = SimulatedSearch(record, rule, workers, partial(look_up, table.losses), seconds)
    search.run()
    return _outcome(record, table, search.clock)


def _outcome(record: TableRecord, table: Table, clock: float) -> Outcome:
    assert not record.unfinished()
    assert not record.paused()
    rows = [row for _, row in record.rows_in_order()]
    best = min(rows, key=objective)
    drawn = record.space.searcher.name == "random"
    in_reach = record.configs.values() if drawn else range(len(table.losses))
    reachable = min(min(table.losses[config]) for config in in_reach)
    regret = objective(best) - reachable
    return Outcome(len(rows), rows.index(best) + 1, objective(best), regret, clock)


# --- what is compared --------------------------------------------------------------------------


class Speculate(PromotionRule):
    """Promotes the best known whenever a worker would be idle, though others may yet beat it."""

    def promote(
        self, paused: Collection[int], running: Collection[int], *, may_start: bool
    ) -> int | None:
        sure = super().promote(paused, running, may_start=may_start)
        return super().promote(paused, [], may_start=may_start) if sure is None else sure


def one_epoch(trials: int, k: int) -> PromotionRule:
    """The baseline of Egele et al. 2023: an epoch for all, then the best k are trained fully."""
    return PromotionRule(rungs=[1], factor=trials / k)


def rules(space: SearchSpace) -> dict[str, Callable[[], EarlyStoppingRule]]:
    """Everything that is compared, by the name it has in the table."""

    def of(name: str) -> Callable[[], EarlyStoppingRule]:
        return lambda: make_rule(changed(space, "scheduler", name=name))

    trials, k = space.budget.trials, max(2, space.budget.trials // space.budget.epochs)
    promoting = changed(space, "scheduler", name=OURS)
    halving = (rung_epochs(promoting), space.scheduler.reduction_factor)
    return {
        "full training": of("none"),
        **{name: of(name) for name in ("median", "hyperband", STOCK, OURS)},
        "  speculating": lambda: Speculate(*halving),
        f"1 epoch, top {k}": lambda: one_epoch(trials, k),
    }


def changed(space: SearchSpace, section: str, **values: Any) -> SearchSpace:
    """The space with other values in one of its sections."""
    settings = dataclasses.replace(getattr(space, section), **values)
    return dataclasses.replace(space, **{section: settings})


def compare(
    table: Table, space: SearchSpace, workers: int, seeds: int, timed: bool
) -> dict[str, list[Outcome]]:
    """Run every rule with every seed; a seed is the same draw of configs for all."""
    seeded = [changed(space, "searcher", seed=seed) for seed in range(seeds)]
    return {
        name: [simulate(table, each, make(), workers, timed) for each in seeded]
        for name, make in rules(space).items()
    }


# --- the table ---------------------------------------------------------------------------------


def table_lines(outcomes: dict[str, list[Outcome]]) -> Iterator[str]:
    """Write the comparison in lines of at most 80 columns."""
    yield f"{'':15} {'epochs spent':^15} {'of':>5} {'until':>6} {'best':>8} {'mean':>8}"
    yield (
        f"{'':15} {'median':>6} {'25-75%':>8} {'ASHA':>5} {'best':>6} {'loss':>8} {'regret':>8} "
        f"{'found':>6} {'time':>7}"
    )
    for name, each in outcomes.items():
        low, median, high = np.percentile([o.epochs for o in each], (25, 50, 75))
        share = _median(o.epochs / of.epochs for o, of in zip(each, outcomes[STOCK], strict=True))
        found = sum(o.regret == 0 for o in each) / len(each)
        yield (
            f"{name:15} {median:6.0f} {low:4.0f}-{high:3.0f} {share:5.0%} "
            f"{_median(o.to_best for o in each):6.0f} {_median(o.best for o in each):8.4f} "
            f"{np.mean([o.regret for o in each]):8.4f} {found:6.0%} "
            f"{_median(o.makespan for o in each):7.1f}"
        )


def verdict(outcomes: dict[str, list[Outcome]]) -> str:
    """Compare ours with Ray's, seed by seed."""
    pairs = list(zip(outcomes[OURS], outcomes[STOCK], strict=True))
    gaps = [ours.best - stock.best for ours, stock in pairs]
    better, worse = sum(gap < 0 for gap in gaps), sum(gap > 0 for gap in gaps)
    equal = [ours.epochs / stock.epochs for ours, stock in pairs if ours.best == stock.best]
    return (
        f"{OURS} against {STOCK}, seed by seed: best loss better {better}, equal {len(equal)}, "
        f"worse {worse} times;\nmean difference {np.mean(gaps):+.4f} +- "
        f"{np.std(gaps) / math.sqrt(len(gaps)):.4f}; where equal, {np.median(equal):.0%} of its "
        "epochs"
    )


def _median(values: Iterator[float]) -> float:
    return float(np.median(list(values)))


def main() -> None:
    options = _options()
    table = Table.read(options.curves)
    assert options.trials <= len(table.settings), f"the table has {len(table.settings)} configs"
    assert options.epochs <= len(table.losses[0]), f"the table has {len(table.losses[0])} epochs"
    sections = {
        "budget": {"trials": options.trials, "epochs": options.epochs},
        "scheduler": {"grace_period": options.grace, "reduction_factor": options.factor},
        "searcher": {"name": options.searcher, "closed_form": False},
    }
    space = override_space(table.space, sections, "command line")
    print(
        f"{options.trials} trials of {len(table.settings)} x {options.epochs} epochs, grace "
        f"{options.grace}, factor {options.factor:g}, {options.workers} workers, "
        f"{options.searcher}, {options.seeds} seeds"
    )
    outcomes = compare(table, space, options.workers, options.seeds, options.timed)
    print("\n".join([*table_lines(outcomes), "", verdict(outcomes)]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=9, help="at most those of the table")
    parser.add_argument("--grace", type=int, default=1, help="epochs before the first rung")
    parser.add_argument("--factor", type=float, default=3.0, help="one in so many goes on")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--searcher", choices=("random", "tpe"), default="random")
    parser.add_argument(
        "--timed", action="store_true", help="epochs take as long as recorded, else one unit each"
    )
    parser.add_argument("--curves", type=Path, default=CURVES, help="table to replay")
    return parser.parse_args()


if __name__ == "__main__":
    main()
