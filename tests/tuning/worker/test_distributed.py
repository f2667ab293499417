import subprocess

import pytest

from tests.tuning.conftest import TINY_SPACE
from tune_encoder.experiment.folder import Experiment

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(300)]

# Dropout is the one thing that two processes do differently; and halves of a batch are rounded
# otherwise than the whole, which bfloat16 makes visible.
SPACE = {
    "budget": {"trials": 2, "epochs": 3},
    "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 2},
    "validation": {"voices": 1},
    "base": {**TINY_SPACE["base"], "dropout": 0.0, "use_amp": False},
    "space": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
    "start": [{"learning_rate": 1e-4}, {"learning_rate": 1e-2}],  # the second begins worse
}


def test_trials_of_two_processes_are_those_of_one_and_leave_none_behind(command):
    before = spawned()
    outcomes = {}
    for processes in (1, 2):
        resources = {"cpus": 2, "processes": processes, "concurrent": 1}
        options = command.search_options({**SPACE, "resources": resources})
        ended = command.run(*options, "--root", f"of{processes}")
        assert ended.returncode == 0, ended.stderr
        outcomes[processes] = Experiment(command.folder / f"of{processes}" / "tiny").trials()

    assert [t.state for t in outcomes[2]] == [t.state for t in outcomes[1]]
    assert {t.state for t in outcomes[2]} == {"COMPLETE", "PRUNED"}
    for one, two in zip(outcomes[1], outcomes[2], strict=True):
        assert two.settings == one.settings
        losses = [[row["val_loss"] for row in trial.rows] for trial in (one, two)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
        assert "checkpoint_sha256" in two.rows[-1]
    assert spawned() == before


def spawned() -> list[str]:
    table = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    return [line for line in table.stdout.splitlines() if "spawn_main" in line]
