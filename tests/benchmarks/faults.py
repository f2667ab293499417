"""Let everything happen to a search that the fault matrix names, and print what came of it.

    python -m tests.benchmarks.faults [--only WORDS]

Each search is a real one, in a process of its own. One that ended is resumed to its end, and the
record is held against what stood there before. Takes ten minutes.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.tuning.conftest import Command
from tests.tuning.faults.matrix import FAULTS, Fault, Met, meet
from tests.tuning.faults.promises import Problem, broken_promises
from tune_encoder.data.demo import make_demo

_ROW = "{:36} {:>5} {:>5} {:>5} {:>4}  {}"


def meet_and_resume(folder: Path, data_dir: Path, fault: Fault) -> tuple[Met, list[str]]:
    """Let it happen, and resume; returns what was met and everything that was wrong."""
    folder.mkdir()
    command = Command(folder, data_dir)
    try:
        met = meet(command, fault)
        problems = [*met.problems, *_resumed(command, met)]
    finally:
        command.close()
    wrong = [f"{problem.promise}: {problem.what}" for problem in problems]
    if met.exit_code != fault.exit_code:
        wrong.append(f"exit code {met.exit_code}, not {fault.exit_code}")
    if fault.said not in met.errors:
        wrong.append(f"it did not say {fault.said!r}")
    if "Traceback" in met.errors:
        wrong.append("a traceback")
    return met, wrong


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows with these words in them")
    options = parser.parse_args()
    wrong = []
    print(_ROW.format("what happens", "exit", "is", "s", "lost", "what is said last"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TUNE_ENCODER_CACHE"] = f"{folder}/cache"
        data_dir = Path(folder) / "demo"
        make_demo(data_dir, voices=24, val_voices=8, test_voices=8, seed=3)
        for number, fault in enumerate(FAULTS):
            if options.only in fault.what:
                home = Path(folder) / f"{number}"
                met, found = meet_and_resume(home, data_dir, fault)
                print(_row(fault, met, home), flush=True)
                wrong += [f"{fault.what}: {each}" for each in found]
    print("\n".join(["", *wrong]) if wrong else "\nall as it should be")
    sys.exit(1 if wrong else 0)


def _row(fault: Fault, met: Met, folder: Path) -> str:
    said = met.said.removeprefix("tune-encoder: ").replace(f"{folder}/", "")
    seconds, lost = f"{met.seconds:.0f}", len(met.problems)
    return _ROW.format(fault.what, fault.exit_code, met.exit_code, seconds, lost, said)


if __name__ == "__main__":
    main()
