import os
import signal
import subprocess

import optuna
import pytest
from optuna.trial import TrialState

from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.training.checkpoints import load_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Decay times rate is 100, so each step multiplies every weight by -99: infinite in 20 steps.
DIVERGES = {"learning_rate": 10.0, "weight_decay": 10.0}
SPACE = {
    "space": {
        "learning_rate": {"float": [1e-4, 10.0], "log": True},
        "weight_decay": {"float": [1e-6, 10.0], "log": True},
    },
    "start": [DIVERGES, {"learning_rate": 5e-3, "weight_decay": 1e-2}],
}


def test_the_study_says_how_each_trial_ended_and_why(command):
    ended = command.run(*command.search_options(SPACE))
    assert ended.returncode == 0, ended.stderr

    study = optuna.load_study(study_name=None, storage=f"sqlite:///{command.experiment.study_path}")
    trials = study.trials

    assert len(trials) == 5
    assert trials[0].state is TrialState.FAIL
    assert "TrainingDiverged: the loss is" in trials[0].user_attrs["reason"]
    assert "lower learning_rate (now 10)" in trials[0].user_attrs["reason"]
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert pruned
    assert complete
    for trial in pruned:
        assert 2 <= len(trial.intermediate_values) < 6
    for trial in complete:
        assert list(trial.intermediate_values) == [1, 2, 3, 4, 5, 6]
        assert trial.value == min(trial.intermediate_values.values())
    rows = [row for trial in command.experiment.trials() for row in trial.rows]
    assert {frozenset(row) for row in rows} == {frozenset(EpochRow.__annotations__)}


def test_a_search_in_which_every_trial_fails_exits_with_5_and_the_reason(command):
    space = {**SPACE, "budget": {"trials": 1, "epochs": 6}}

    ended = command.run(*command.search_options(space))

    assert ended.returncode == 5
    assert "no trial of tiny gave a result: TrainingDiverged: the loss is" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_same_seed_one_at_a_time_gives_the_same_trials_and_losses(command, tmp_path):
    options = [*command.search_options(), "--concurrent", "1", "--trials", "4", "--epochs", "3"]
    results = []
    for root in ("a", "b"):
        ended = command.run(*options, "--root", root)
        assert ended.returncode == 0, ended.stderr
        trials = type(command.experiment)(tmp_path / root / "tiny").trials()
        results.append([(t.state, t.settings, [row["val_loss"] for row in t.rows]) for t in trials])

    assert results[0] == results[1]
    assert len({str(settings) for _, settings, _ in results[0]}) == 4


def test_a_killed_worker_is_started_again_from_its_checkpoint(command):
    space = {"resources": {"concurrent": 1}, "budget": {"trials": 1, "epochs": 30}}
    process = command.start(*command.search_options(space))
    command.wait_for_rows(process, 3)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    _, error = process.communicate(timeout=200)

    (trial,) = command.experiment.trials()
    assert process.returncode == 0, error
    assert trial.state == "COMPLETE"
    assert [row["epoch"] for row in trial.rows] == list(range(1, len(trial.rows) + 1))
    places = [command.experiment.checkpoint_file(row) for row in trial.rows]
    assert None not in places
    for row in (trial.best, trial.rows[-1]):
        assert load_state(command.experiment.checkpoint_file(row))["epoch"] == row["epoch"]
    attempts = [row["attempt"] for row in trial.rows]
    assert (attempts[0], attempts[-1]) == (1, 2)
    assert attempts == sorted(attempts)  # epochs that are told again keep their clock
    assert len({row["recorded_at"] for row in trial.rows}) == len(trial.rows)
    assert len(command.experiment.checkpoint_files(0)) <= 2
    assert not list(command.experiment.checkpoints.glob("**/*.pkl"))


def test_a_trial_whose_worker_is_not_ready_for_it_is_handed_out_again(command):
    """With no time to end in, a worker refuses each next trial, and Tune forgets that one."""
    space = {"resources": {"concurrent": 1}, "budget": {"trials": 3, "epochs": 2}}
    environment = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "0"}

    ended = command.run(*command.search_options(space), environment=environment)

    assert ended.returncode == 0, ended.stderr
    trials = command.experiment.trials()
    assert [trial.state for trial in trials] == ["COMPLETE"] * 3
    assert all([row["epoch"] for row in trial.rows] == [1, 2] for trial in trials)
    assert len(list(command.experiment.checkpoints.glob("1/*"))) > 3  # else none was refused
    assert all(command.experiment.checkpoint_file(t.rows[-1]).is_file() for t in trials)
    assert all(len(command.experiment.checkpoint_files(trial.number)) == 2 for trial in trials)


def worker_of(driver: int) -> int:
    """The process that trains: below the driver, named by Ray after our function."""
    table = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    rows = [line.split(None, 2) for line in table]
    below = {driver}
    for _ in range(4):  # driver, raylet, worker
        below |= {int(pid) for pid, parent, _ in rows if int(parent) in below}
    (worker,) = [int(pid) for pid, _, name in rows if int(pid) in below and "ImplicitFunc" in name]
    return worker
