"""Kill processes of a search at random moments, resume it each time, and see what it lost.

    python -m tests.benchmarks.kill
    python -m tests.benchmarks.kill --kills 40 --targets driver,worker,agent,node,head

Takes half a minute a kill, and up to a minute more where Ray first waits for what is gone. A search
that ends before all kills are dealt is followed by another. The log it is checked against is our
own: a copy of what stood in the record at each kill, and the TensorBoard events, which tell every
epoch that was ever trained to its end. (Of the epochs under way at a kill, one a running trial, the
part that was done is lost too; no table shows it.)
"""

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from tests.tuning.conftest import ENDED_S, STARTED_S, Command
from tests.tuning.faults.processes import AGENT, HEAD, NODE, WORKER, of_ray
from tests.tuning.faults.promises import ENDED, PROMISES, Problem, broken_promises
from tune_encoder.data.demo import make_demo
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord

N_TRIALS, EPOCHS, WORKERS = 12, 9, 2
START_S = (0.5, 12.0)  # after the start of a launch: Ray's start on most machines, or soon after
POLL_S = 0.02
GONE_S = 90.0  # the longest a search may take to end after its cluster was lost, on a busy machine
TARGETS = {"worker": WORKER, "agent": AGENT, "node": NODE, "head": HEAD}  # beside the driver
CLUSTER_LOST = 4  # exit code


@dataclass
class Kill:
    """One SIGKILL and what stood in the record then."""

    search: int
    target: str
    after: str
    """What the moment was counted from."""
    moment_s: float
    at: float
    """On the clock of the TensorBoard events."""
    trials: list[TrialRecord]
    trained: Counter[tuple[int, int]]
    """How often each (trial, epoch) had been trained."""
    redone: int = 0
    """Epochs trained again between this kill and the next."""

    @property
    def running(self) -> int:
        return sum(trial.state == "RUNNING" and not trial.paused for trial in self.trials)

    @property
    def ended(self) -> int:
        return sum(trial.state in ENDED for trial in self.trials)


@dataclass
class Report:
    """What all kills came to."""

    kills: list[Kill] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    n_searches: int = 0


def space_of(scheduler: str) -> dict[str, Any]:
    """What is searched."""
    return {
        "budget": {"trials": N_TRIALS, "epochs": EPOCHS},
        "scheduler": {"name": scheduler, "grace_period": 1, "reduction_factor": 3},
        "resources": {"concurrent": WORKERS},
        "validation": {"voices": 1},
    }


def kill_searches(
    folder: Path,
    data_dir: Path,
    scheduler: str,
    kills: int,
    linger_s: float,
    seed: int = 0,
    targets: Sequence[str] = ("driver",),
) -> Report:
    """Deal kills to one search after another; the last is then run to its end.

    Args:
        folder: Gets a folder for each search.
        data_dir: What they train on.
        scheduler: Rule of the searches.
        kills: How many.
        linger_s: Every second kill comes up to so long after the launch's first new epoch, since
            on a slow machine all others may fall into Ray's start.
        seed: Of the moments.
        targets: What is killed, in turn.
    """
    report, moments = Report(), random.Random(seed)
    while len(report.kills) < kills:
        command = Command(folder / f"{report.n_searches}", data_dir)
        victim = Victim(command, space_of(scheduler), report.n_searches)
        report.n_searches += 1
        while len(report.kills) < kills:
            number = len(report.kills)
            target = targets[number % len(targets)]
            counts_from_epoch = number // len(targets) % 2 == 1
            moment_s = moments.uniform(*((0.0, linger_s) if counts_from_epoch else START_S))
            if not victim.launch_and_kill(target, moment_s, counts_from_epoch):
                break
            report.kills.append(victim.kills[-1])
            print(f"kill {len(report.kills)} of {kills}", end="\r", file=sys.stderr, flush=True)
        report.problems += victim.end()
    return report


class Victim:
    """One search, killed again and again."""

    def __init__(self, command: Command, space: dict[str, Any], number: int) -> None:
        command.folder.mkdir(parents=True)
        self.command = command
        self.experiment = command.experiment
        self.space = space
        self.number = number
        self.kills: list[Kill] = []
        self.problems: list[Problem] = []
        self._running: subprocess.Popen[str] | None = None
        """A launch that has lost a worker, and goes on."""

    def launch_and_kill(self, target: str, moment_s: float, counts_from_epoch: bool) -> bool:
        """Start or resume the search and kill it, or a process of its Ray.

        Returns:
            False if it ended by itself before.
        """
        rows, process = self.command.n_rows(), self._launch()
        deadline = time.monotonic() + STARTED_S
        while counts_from_epoch and self.command.n_rows() == rows and process.poll() is None:
            assert time.monotonic() < deadline, "no epoch came; the machine is too busy"
            time.sleep(POLL_S)
        victim = self._await(process, target, time.monotonic() + moment_s)
        if victim is None:
            self._note_end(process)
            return False
        victim.kill()
        after = "epoch" if counts_from_epoch else "start"
        self._note_kill(target, after, moment_s, process)
        return True

    def _await(
        self, process: "subprocess.Popen[str]", target: str, moment: float
    ) -> "subprocess.Popen[str] | psutil.Process | None":
        """Return what is to be killed, at a moment or as soon as it is there; None: all ended."""
        while process.poll() is None:
            if time.monotonic() >= moment:
                name = TARGETS.get(target)
                victim = process if name is None else of_ray(process, name)
                if victim is not None:
                    return victim
            time.sleep(POLL_S)
        return None

    def _note_kill(
        self, target: str, after: str, moment_s: float, process: "subprocess.Popen[str]"
    ) -> None:
        """Note what stands in the record once the search has ended, or at once if it goes on."""
        at = time.time()
        if target == "driver":
            let_go(process)
        elif target == "worker":
            self._running = process
        else:
            self._note_end(process, GONE_S, CLUSTER_LOST)
        trained = Counter((number, epoch) for number, epoch, _ in trained_epochs(self.experiment))
        trials = self._trials()
        self.kills.append(Kill(self.number, target, after, moment_s, at, trials, trained))

    def _launch(self) -> "subprocess.Popen[str]":
        """What a person would do next: wait, `resume`, or `search` if it did not come so far."""
        running, self._running = self._running, None
        if running is not None and running.poll() is None:
            return running
        begun = (self.experiment.path / "search.yaml").exists()
        if begun:
            return self.command.start("resume", "tiny", "--no-export")
        return self.command.start(*self.command.search_options(self.space))

    def _note_end(
        self, process: "subprocess.Popen[str]", within_s: float = ENDED_S, code: int = 0
    ) -> None:
        """Wait until a launch ends with its code, or with 0 if nothing was left to do."""
        try:
            _, errors = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            let_go(process)
            errors = f"did not end in {within_s} s"
        ended_itself = process.returncode == 0 and self._is_whole()
        if process.returncode != code and not ended_itself:
            what = f"exit code {process.returncode}, not {code}: {errors[-500:]}"
            self.problems.append(Problem("launch failed", what))

    def _is_whole(self) -> bool:
        states = [trial.state for trial in self._trials()]
        return len(states) == N_TRIALS and all(state in ENDED for state in states)

    def _trials(self) -> list[TrialRecord]:
        return self.experiment.trials() if self.experiment.study_path.exists() else []

    def end(self) -> list[Problem]:
        """Let the search run to its end; return every promise that it did not keep."""
        self._note_end(self._launch())
        problems = self.problems
        events = list(trained_epochs(self.experiment))
        self._count_redone(events)
        stood = [*(kill.trials for kill in self.kills), self._trials()]
        for before, now in itertools.pairwise(stood):
            problems += broken_promises(before, now)
        for trial in stood[-1]:
            if trial.state not in ENDED:
                what = f"trial {trial.number} is {trial.state} after {len(trial.rows)} epochs"
                problems.append(Problem("trial not ended", what))
        if len(stood[-1]) != N_TRIALS:
            problems.append(Problem("trial not ended", f"{len(stood[-1])} of {N_TRIALS} exist"))
        trained = Counter((number, epoch) for number, epoch, _ in events)
        recorded = {(trial.number, row["epoch"]) for trial in stood[-1] for row in trial.rows}
        assert recorded <= set(trained), "epochs without TensorBoard events; nothing can be counted"
        return [*problems, *self._repeated(trained), *self._redone_too_often()]

    def _count_redone(self, events: list["Trained"]) -> None:
        seen: set[tuple[int, int]] = set()
        for number, epoch, at in sorted(events, key=lambda event: event.at):
            if (number, epoch) in seen:
                [kill for kill in self.kills if kill.at < at][-1].redone += 1
            seen.add((number, epoch))

    def _repeated(self, trained: Counter[tuple[int, int]]) -> Iterator[Problem]:
        for kill in self.kills:
            for trial in kill.trials:
                epochs = [(trial.number, epoch) for epoch in range(1, EPOCHS + 1)]
                again = [key for key in epochs if trained[key] > kill.trained[key]]
                if trial.state in ENDED and again:
                    yield Problem("finished trial repeated", f"trial {trial.number}: {again}")

    def _redone_too_often(self) -> Iterator[Problem]:
        for kill in self.kills:
            if kill.redone > WORKERS:
                yield Problem(PROMISES[-1], f"{kill.redone} epochs after the kill at {kill.at}")


def let_go(process: "subprocess.Popen[str]") -> None:
    """Wait for what was killed, and close its pipes, which Ray's processes may hold longer."""
    process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


class Trained(NamedTuple):
    """An epoch that was trained, whether or not it came into the record."""

    number: int
    epoch: int
    at: float


def trained_epochs(experiment: Experiment) -> Iterator[Trained]:
    """Read every trial's TensorBoard files; each start of a trial has written its own."""
    for path in sorted(experiment.path.glob("trials/*/logs/events.*")):
        for event in EventFileLoader(str(path)).Load():
            if any(value.tag == "val_loss" for value in event.summary.value):
                yield Trained(int(path.parts[-3]), event.step, event.wall_time)


def report_lines(report: Report) -> Iterator[str]:
    """Write the table and the verdict, in at most 80 columns."""
    yield "kill  search  target  moment            rows  running  ended  epochs redone"
    for number, kill in enumerate(report.kills, start=1):
        rows = sum(len(trial.rows) for trial in kill.trials)
        moment = f"{kill.moment_s:5.2f} s after {kill.after}"
        yield (
            f"{number:4}  {kill.search + 1:6}  {kill.target:6}  {moment}  {rows:4}"
            f"  {kill.running:7}  {kill.ended:5}  {kill.redone:13}"
        )
    redone = [kill.redone for kill in report.kills]
    yield (
        f"\n{N_TRIALS} trials x {EPOCHS} epochs, searches: {report.n_searches}, kills: "
        f"{len(redone)}, epochs redone: {sum(redone)}, at most {max(redone)} a kill\n"
    )
    counts = Counter(problem.promise for problem in report.problems)
    for promise in PROMISES:
        yield f"{promise:40} {counts[promise]:3}"
    yield f"\n{'not kept' if report.problems else 'all kept'}"
    for problem in report.problems:
        yield f"{problem.promise}: {problem.what}"


def _targets(text: str) -> list[str]:
    targets = text.split(",")
    if unknown := [each for each in targets if each not in ("driver", *TARGETS)]:
        raise argparse.ArgumentTypeError(f"no such process: {', '.join(unknown)}")
    return targets


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--scheduler", default="asha")
    parser.add_argument(
        "--voices", type=int, default=240, help="to train on; more make epochs slow"
    )
    parser.add_argument(
        "--targets", type=_targets, default=["driver"],
        help=f"what is killed in turn: driver, {', '.join(TARGETS)}",
    )  # fmt: skip
    parser.add_argument("--linger", type=float, default=4.0, help="longest wait after an epoch, s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TUNE_ENCODER_CACHE"] = f"{folder}/cache"
        data_dir = Path(folder) / "demo"
        make_demo(data_dir, voices=options.voices, val_voices=8, test_voices=8, seed=3)
        report = kill_searches(
            Path(folder) / "searches",
            data_dir,
            options.scheduler,
            options.kills,
            options.linger,
            options.seed,
            options.targets,
        )
    print("\n".join(report_lines(report)))
    sys.exit(1 if report.problems else 0)


if __name__ == "__main__":
    main()
