"""Let everything happen to a search that the fault matrix names, and print what came of it.

    python -m tests.benchmarks.faults [--only WORDS]

Each search is a real one, in a process of its own. One that ended is resumed to its end, and the
record is held against what stood there before. After them come odd surroundings, such as a full
disk, for which it has to be run by root. Takes a quarter of an hour.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.tuning.conftest import Command
from tests.tuning.faults.matrix import FAULTS, Fault, Met, meet
from tests.tuning.faults.promises import Problem, broken_promises
from tests.tuning.faults.surroundings import SURROUNDINGS, Surroundings
from tune_encoder.data.demo import make_demo

_ROWS: tuple[Fault | Surroundings, ...] = (*FAULTS, *SURROUNDINGS)
_ROW = "{:36} {:>5} {:>5} {:>5} {:>4}  {}"


def meet_and_resume(command: Command, fault: Fault) -> tuple[Met, list[str]]:
    """Let it happen, and resume; returns what was met and everything that was wrong."""
    met = meet(command, fault)
    late = [f"ended after {met.seconds:.0f} s"] if met.seconds > fault.within_s else []
    return met, [*late, *_broken([*met.problems, *_resumed(command, met)]), *_wrong(fault, met)]


def _broken(problems: list[Problem]) -> list[str]:
    return [f"{problem.promise}: {problem.what}" for problem in problems]


def _wrong(row: Fault | Surroundings, met: Met) -> Iterator[str]:
    """Yield what a row says otherwise."""
    if met.exit_code != row.exit_code:
        yield f"exit code {met.exit_code}, not {row.exit_code}"
    if row.said not in met.errors:
        yield f"it did not say {row.said!r}"
    if "Traceback" in met.errors:
        yield "a traceback"


def _resumed(command: Command, met: Met) -> list[Problem]:
    """Resume a search that has ended too early; return the promises that it did not keep."""
    if met.exit_code == 0:
        return []
    has_study = command.experiment.study_path.exists()
    before = command.experiment.trials() if has_study else []
    done = command.run("resume", "tiny", "--no-export")
    if done.returncode:
        return [Problem("launch failed", done.stderr[-300:])]
    return list(broken_promises(before, command.experiment.trials()))


def _row(row: Fault | Surroundings, met: Met, folder: Path) -> str:
    said = met.said.removeprefix("tune-encoder: ").replace(f"{folder}/", "")
    seconds = f"{met.seconds:.0f}"
    lost = len(met.problems) if isinstance(row, Fault) else "-"
    return _ROW.format(row.what, row.exit_code, met.exit_code, seconds, lost, said)


def _meet_all(folder: Path, only: str) -> Iterator[str]:
    """Print a row of each; yield everything that was wrong."""
    data_dir = folder / "demo"
    make_demo(data_dir, voices=24, val_voices=8, test_voices=8, seed=3)
    for number, row in enumerate(_ROWS):
        if only not in row.what:
            continue
        home = folder / f"{number}"
        home.mkdir()
        command = Command(home, data_dir)
        try:
            if isinstance(row, Fault):
                met, wrong = meet_and_resume(command, row)
            else:
                met = row.meet(command)
                wrong = [*_broken(met.problems), *_wrong(row, met)]
        finally:
            command.close()
        print(_row(row, met, home), flush=True)
        yield from (f"{row.what}: {each}" for each in wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows with these words in them")
    options = parser.parse_args()
    print(_ROW.format("what happens", "exit", "is", "s", "lost", "what is said last"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TUNE_ENCODER_CACHE"] = f"{folder}/cache"
        wrong = [*_meet_all(Path(folder), options.only)]
    print("\n".join(["", *wrong]) if wrong else "\nall as it should be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
