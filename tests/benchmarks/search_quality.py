"""Compare schedulers and searchers on a testbed: what each finds within a budget of epochs.

    python -m tests.benchmarks.search_quality
    python -m tests.benchmarks.search_quality --testbed FOLDER --seeds 0-9 --workers 1,4,16 \\
        --method promote+random --method asha+tpe+starts=8 --out traces.jsonl

The searcher, samplers, rules and scheduler are those of a search; see `simulated.search`. Each seed
has its own draws on every task. The area is that under the curve of the regret: its mean at 20, 40
and so on to 1,000 epochs of all trials together.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from tests.benchmarks.simulated.regret_table import Run, table_lines
from tests.benchmarks.simulated.search import MemoryRecord, SimulatedSearch
from tests.benchmarks.simulated.testbed import EPOCHS, SHIPPED, Task, learned_starts, read_testbed
from tune_encoder.config import (
    BudgetSettings,
    SchedulerSettings,
    SearcherSettings,
    from_mapping,
)
from tune_encoder.errors import ConfigError
from tune_encoder.space import SearchSpace
from tune_encoder.space.plan import plan_search
from tune_encoder.tuning.driver.early_stopping import make_rule

TOTAL_EPOCHS = 20 * EPOCHS
RANDOM = "none+random"
METHODS = (RANDOM, "asha+tpe", "asha+random", "promote+tpe", "promote+random")
_OPTIONS = {"starts": 0.0, "grace": 2.0, "factor": 3.0, "startup": 8.0}


@dataclass(frozen=True)
class Method:
    """A scheduler, a searcher, and how many learned configs are tried first."""

    name: str
    scheduler: SchedulerSettings
    searcher: SearcherSettings
    starts: int

    @classmethod
    def parse(cls, name: str) -> "Method":
        """Read "scheduler+searcher", with "+option=number" for each option that is not default.

        Raises:
            ConfigError: if there is no such method.
        """
        scheduler, _, rest = name.partition("+")
        searcher, *given = rest.split("+")
        if not searcher:
            raise ConfigError(f"no searcher in {name!r}; write scheduler+searcher")
        options = {**_OPTIONS, **dict(map(_option, given))}
        rule: dict[str, object] = {
            "name": scheduler,
            "grace_period": int(options["grace"]),
            "reduction_factor": options["factor"],
        }
        sampler: dict[str, object] = {
            "name": searcher,
            "startup_trials": int(options["startup"]),
            "closed_form": False,
        }
        return cls(
            name,
            from_mapping(SchedulerSettings, rule, "scheduler"),
            from_mapping(SearcherSettings, sampler, "searcher"),
            int(options["starts"]),
        )

    def space(self, task: Task, seed: int) -> SearchSpace:
        """Return what is searched; a seed has different draws on each task."""
        drawn = zlib.crc32(f"{task.name} {seed}".encode()) % 2**31
        searcher = dataclasses.replace(self.searcher, seed=drawn)
        space = dataclasses.replace(task.space, scheduler=self.scheduler, searcher=searcher)
        if self.scheduler.fills_rungs:  # it promotes after the last trial only
            return dataclasses.replace(space, budget=_affordable(space))
        return space


def _option(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    if name not in _OPTIONS:
        raise ConfigError(f"unknown option {name!r}; known: {', '.join(_OPTIONS)}")
    return name, float(value)


def _affordable(space: SearchSpace) -> BudgetSettings:
    """Return the largest budget whose plan is within the epochs."""
    budgets = (dataclasses.replace(space.budget, trials=n) for n in range(TOTAL_EPOCHS, 0, -1))
    return next(
        budget
        for budget in budgets
        if plan_search(dataclasses.replace(space, budget=budget)).total_epochs <= TOTAL_EPOCHS
    )


@dataclass(frozen=True)
class Job:
    """One search to simulate."""

    method: Method
    task: int
    """Place among the testbed's tasks."""
    seed: int
    workers: int


_tasks = cache(read_testbed)


def run_job(testbed: Path, job: Job) -> Run:
    """Simulate one search."""
    tasks = _tasks(testbed)
    task = tasks[job.task]
    space = job.method.space(task, job.seed)
    starts = learned_starts(task, tasks, job.method.starts, job.seed) if job.method.starts else []
    record = MemoryRecord(space, starts)
    search = SimulatedSearch(
        record,
        make_rule(space),
        job.workers,
        lambda trial, epoch: float(task.curve(trial.settings)[epoch - 1]),
        lambda trial, epoch: task.seconds(trial.settings),
        TOTAL_EPOCHS,
    )
    search.run()
    return _run_of(record, job, task)


def _run_of(record: MemoryRecord, job: Job, task: Task) -> Run:
    trace: list[tuple[int, float]] = []
    rows = record.rows_in_order()
    for spent, (_, row) in enumerate(rows, 1):
        if not trace or row["objective"] < trace[-1][1]:
            trace.append((spent, row["objective"]))
    n_full = sum(len(trial.rows) >= EPOCHS for trial in record.trials.values())
    return Run(
        job.method.name, task.name, job.seed, trace, len(record.trials), n_full, len(rows),
        job.workers,
    )  # fmt: skip


def run_jobs(testbed: Path, jobs: Sequence[Job], processes: int) -> Iterator[Run]:
    """Simulate all searches, and tell the progress."""
    os.environ.update(OMP_NUM_THREADS="1", RAY_AIR_NEW_OUTPUT="0")
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = pool.imap_unordered(partial(run_job, testbed), jobs)
        for done, run in enumerate(found, 1):
            print(f"{done} of {len(jobs)} searches", end="\r", file=sys.stderr, flush=True)
            yield run


def main() -> None:
    options = _options()
    tasks = read_testbed(options.testbed)
    names = dict.fromkeys((RANDOM, *(options.method or METHODS)))
    try:
        methods = [Method.parse(name) for name in names]
    except (ConfigError, ValueError) as error:
        raise SystemExit(f"--method: {error}") from error
    jobs = [
        Job(method, task, seed, workers)
        for seed in options.seeds
        for task in range(len(tasks))
        for method in methods
        for workers in options.workers
    ]
    runs = sorted(run_jobs(options.testbed, jobs, options.processes))
    if options.out is not None:
        lines = (json.dumps(dataclasses.asdict(run), allow_nan=False) for run in runs)
        options.out.write_text("".join(f"{line}\n" for line in lines))
    peers = read_runs(options.testbed / "peers.jsonl")  # of other systems, if it lies there
    for workers in options.workers:
        found = [run for run in runs if run.workers == workers]
        beside = [run for run in peers if run.workers == workers]
        print(f"\n{workers} workers, {TOTAL_EPOCHS:,} epochs, {len(tasks)} tasks")
        print("\n".join(table_lines(tasks, found, beside, RANDOM)))


def read_runs(path: Path) -> list[Run]:
    """Read traces; none if the file does not exist."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [_read_run(json.loads(line)) for line in lines]


def _read_run(content: dict[str, Any]) -> Run:
    trace = [(spent, value) for spent, value, *_ in content["trace"]]
    return Run(**{**content, "trace": trace})


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _range(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--testbed", type=Path, default=SHIPPED, help="folder of tasks")
    parser.add_argument(
        "--method", action="append",
        help="scheduler+searcher, and +starts=N, +grace=N, +factor=X, +startup=N; may be repeated",
    )  # fmt: skip
    parser.add_argument("--seeds", type=_range, default=[0, 1, 2], help="such as 0-9")
    parser.add_argument("--workers", type=_numbers, default=[4], help="such as 1,4,16")
    parser.add_argument("--processes", type=int, default=2, help="searches at once")
    parser.add_argument("--out", type=Path, help="file for the traces, a JSON line each")
    return parser.parse_args()


if __name__ == "__main__":
    main()
