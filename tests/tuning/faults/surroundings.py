"""What can be odd about the place where a search runs, and how the search ends there."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psutil
import yaml

from tests.processes import command_of
from tests.tuning.conftest import ENDED_S, Command
from tests.tuning.faults.matrix import SPACE, Met
from tests.tuning.faults.processes import children
from tests.tuning.faults.promises import broken_promises
from tune_encoder.config import read_yaml
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord

SHORT: dict[str, Any] = {"budget": {"trials": 2, "epochs": 2}, "resources": {"concurrent": 1}}
LONG_NAME = "a" * 90  # with it a path is too long for a socket of Ray
N_FILES = 28  # that a disk has room for: too few for three trials
SERVERS = ("tensorboard", "optuna")
GONE_S = 10.0

Outcome = CompletedProcess[str]
Runs = Callable[[Command], Outcome]


def search_with(remove: str = "", **variables: str) -> Runs:
    """Search with variables of the environment, in which {0} is the folder; without another.

    And without those of Ray's token, which would say where it is.
    """

    def run(command: Command) -> Outcome:
        given = {name: value.format(command.folder) for name, value in variables.items()}
        for path in (value for name, value in given.items() if name == "TMPDIR"):
            Path(path).mkdir()
        away = (remove, "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
        kept = {name: value for name, value in os.environ.items() if name not in away}
        return _run(command, env={**kept, **given})

    return run


def search_without_reader(command: Command) -> Outcome:
    """Close what it writes to, after the first line, as `head -1` does."""
    process = subprocess.Popen(
        _searching(command), cwd=command.folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    return CompletedProcess([], process.wait(ENDED_S), "", errors)


def search_without_errors(command: Command) -> Outcome:
    """Close standard error before it starts."""
    return _run(command, preexec_fn=lambda: os.close(2))


def on_full_disk(*after: str) -> Runs:
    """Search, and maybe something after it, on a disk with room for a few files; needs root."""

    def run(command: Command) -> Outcome:
        with _small_disk(command.folder / "small") as disk:
            there = Command(disk, command.data_dir)
            done = there.run(*there.search_options(SPACE))
            assert not any(trial.state == "FAIL" for trial in there.experiment.trials())
            return there.run(*after) if after else done

    return run


def resume_edited(command: Command) -> Outcome:
    """Add a choice to search.yaml, and resume."""
    command.run(
        *command.search_options({**SHORT, "space": {"head": {"choice": ["pca", "linear"]}}})
    )
    path = command.experiment.path / "search.yaml"
    stored: Any = read_yaml(path)
    stored["space"]["space"]["head"]["choice"].append("joint")
    path.write_text(yaml.safe_dump(stored))
    return command.run("resume", "tiny", "--no-export")


def resume_damaged(command: Command) -> Outcome:
    """Damage the newest checkpoints of a search that was killed, and resume."""
    process = command.start(*command.search_options(SPACE))
    command.stop_after(process, 6, signal.SIGKILL)
    before = command.experiment.trials()
    assert damage_newest(command.experiment, before)
    done = command.run("resume", "tiny", "--no-export")
    assert not [*broken_promises(before, command.experiment.trials())]
    return done


def damage_newest(experiment: Experiment, trials: list[TrialRecord]) -> list[int]:
    """Cut the newest checkpoint of each unfinished trial that has two; returns their numbers."""
    damaged = []
    for trial in trials:
        files = experiment.checkpoint_files(trial.number)
        if trial.state == "RUNNING" and len(files) > 1:
            newest = max(files, key=lambda path: path.stat().st_mtime)
            newest.write_bytes(newest.read_bytes()[:-100])
            damaged.append(trial.number)
    return damaged


def search_among(make: Callable[[Path], object]) -> Runs:
    """Search a data set in which something is no sample."""

    def run(command: Command) -> Outcome:
        odd = command.folder / "odd"
        shutil.copytree(command.data_dir, odd)
        make(odd / "train" / "odd.npz")
        return _run(Command(command.folder, odd))

    return run


def search_one_style(command: Command) -> Outcome:
    """Search a data set whose training clips have one style."""
    odd = command.folder / "odd"
    shutil.copytree(command.data_dir, odd)
    first, *others = sorted((odd / "train").glob("*.npz"))
    for path in others:
        shutil.copy(first, path)
    return _run(Command(command.folder, odd))


def kill_with_dashboards(command: Command) -> Outcome:
    """SIGKILL of a search with `--dashboard`; an error if a server outlives it."""
    process = command.start(*command.search_options(SPACE), "--dashboard")
    command.wait_for_rows(process, 2)
    servers = [each for each in children(process) if _is_server(each)]
    assert len(servers) >= len(SERVERS), servers
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(servers, GONE_S)
    assert not alive, alive
    return CompletedProcess([], process.returncode, "", "")


def _is_server(process: psutil.Process) -> bool:
    return any(name in command_of(process, 4) for name in SERVERS)


def _run(command: Command, **how: Any) -> Outcome:
    return subprocess.run(
        _searching(command), cwd=command.folder, text=True, capture_output=True, timeout=ENDED_S,
        check=False, **how,
    )  # fmt: skip


def _searching(command: Command) -> list[str]:
    return [sys.executable, "-u", "-m", "tune_encoder", *command.search_options(SHORT)]


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    options = f"size=1g,nr_inodes={N_FILES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass(frozen=True)
class Surroundings:
    """A row of the table."""

    what: str
    run: Runs
    exit_code: int
    said: str = ""
    """In a line about it; nothing where it makes no difference."""
    in_suite: bool = False
    """Whether the test suite has it here; other tests show most of the rest."""

    def meet(self, command: Command) -> Met:
        """Run it, and see how it ends."""
        began = time.monotonic()
        done = self.run(command)
        has_record = command.experiment.study_path.exists()
        problems = [*broken_promises([], command.experiment.trials())] if has_record else []
        return Met(done.returncode, done.stderr or "", time.monotonic() - began, problems)


def _link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


_TOKEN = "set RAY_AUTH_TOKEN_PATH to a file"
FULL = "No space left on device"
NO_FILE = "odd.npz: is a pipe or device, not a file"
SURROUNDINGS = (
    Surroundings("a reader that leaves (`| head -1`)", search_without_reader, 0),
    Surroundings("no standard error", search_without_errors, 0),
    Surroundings("a terminal of ASCII", search_with(PYTHONIOENCODING="ascii"), 0),
    Surroundings("a TMPDIR of 90 more letters", search_with(TMPDIR="{0}/" + LONG_NAME), 0),
    Surroundings("no HOME", search_with(remove="HOME"), 0, in_suite=True),
    Surroundings("a HOME for reading only", search_with(HOME="/proc"), 4, _TOKEN, in_suite=True),
    Surroundings("a full disk", on_full_disk(), 4, FULL),
    Surroundings("a full disk, `resume`", on_full_disk("resume", "tiny", "--no-export"), 4, FULL),
    Surroundings("a choice added, `resume`", resume_edited, 2, "`tune-encoder fork tiny NEW"),
    Surroundings("damaged checkpoints, `resume`", resume_damaged, 0, "is damaged; it resumes from"),
    Surroundings("a pipe among the samples", search_among(os.mkfifo), 3, NO_FILE),
    Surroundings("a link to /dev/zero among them", search_among(_link_to_zeros), 3, NO_FILE),
    Surroundings("training clips of one style", search_one_style, 3, "style", in_suite=True),
    Surroundings("SIGKILL with `--dashboard`", kill_with_dashboards, -9),
)
