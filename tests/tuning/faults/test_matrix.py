"""What happens to a search, its exit code, what is said, and that nothing is lost."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tuning.conftest import STARTED_S, Command
from tests.tuning.faults.matrix import FAULTS, NO_HEAD, NO_NODE, SPACE, Fault, meet
from tests.tuning.faults.surroundings import SHORT
from tests.tuning.test_resume import LONG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# It starts sooner than two, as which the table of tests.benchmarks.faults has them.
ONE_WORKER = {**SPACE, "resources": {"concurrent": 1}}
QUICK = [fault for fault in FAULTS if fault.in_suite]


@pytest.mark.parametrize("fault", QUICK, ids=[fault.what for fault in QUICK])
def test_a_fault_ends_a_search_with_its_code_and_a_line_and_nothing_is_lost(
    command: Command, fault: Fault
) -> None:
    met = meet(command, fault, ONE_WORKER)

    assert met.exit_code == fault.exit_code, met.errors
    (line,) = [line for line in met.errors.splitlines() if line.startswith("tune-encoder: ")]
    assert fault.said in line
    assert line.endswith("resume with `tune-encoder resume tiny`")
    assert "Traceback" not in met.errors
    assert "(raylet)" not in met.errors
    assert "[state-dump]" not in met.errors
    assert met.problems == []
    if command.experiment.study_path.exists():  # not yet, where Ray starts
        command.experiment.check_record()
    if fault.said in (NO_NODE, NO_HEAD):
        n_epochs = sum(len(trial.rows) for trial in command.experiment.trials())
        assert f"everything is saved ({n_epochs} epochs); " in line


def test_a_search_outlives_its_reader_and_does_without_standard_error(command: Command) -> None:
    changes = {**SHORT, "report": {"at_end": True}}
    options = command.search_options(changes)
    options.remove("--no-export")
    search = [sys.executable, "-u", "-m", "tune_encoder", *options]
    process = subprocess.Popen(
        search, cwd=command.folder, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2)
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(STARTED_S) == 0
    assert [trial.state for trial in command.experiment.trials()] == ["COMPLETE"] * 2
    assert (command.experiment.path / "best" / "metrics.json").is_file()
    assert (command.experiment.path / "report.html").is_file()


def test_a_search_and_its_resume_on_a_full_disk_fail_no_trial_and_say_how_to_resume(
    small_disk: Callable[[int], Path], data_dir: Path
) -> None:
    command = Command(small_disk(28), data_dir)

    searched = command.run(*command.search_options(LONG))
    states = [trial.state for trial in command.experiment.trials()]
    resumed = command.run("resume", "tiny", "--no-export")

    for ended in (searched, resumed):
        assert ended.returncode == 4
        assert "Traceback" not in ended.stderr
        (line,) = [line for line in ended.stderr.splitlines() if "tune-encoder: " in line]
        assert "No space left on device" in line
        assert line.endswith("; then resume with `tune-encoder resume tiny`")
    assert "FAIL" not in [*states, *(trial.state for trial in command.experiment.trials())]
