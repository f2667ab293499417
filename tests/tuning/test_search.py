import os
import re
import signal
import subprocess

import optuna
import pytest
from optuna.trial import TrialState

from tests.tuning.conftest import Command
from tests.tuning.faults.processes import WORKER
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.trials import needed_checkpoints
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


@pytest.fixture(scope="module")
def diverging(tmp_path_factory, data_dir):
    """A search of which the first trial diverges."""
    command = Command(tmp_path_factory.mktemp("ended"), data_dir)
    ended = command.run(*command.search_options(SPACE))
    assert ended.returncode == 0, ended.stderr
    assert "\nreport it: tune-encoder report tiny\n" in ended.stdout  # at_end is false
    assert not (command.experiment.path / "report.html").exists()
    return command.experiment


@pytest.fixture(scope="module")
def trials(diverging):
    """Its trials as Optuna has them."""
    storage = f"sqlite:///{diverging.study_path}"
    trials = optuna.load_study(study_name=None, storage=storage).trials
    assert len(trials) == 5
    return trials


def test_the_study_says_why_a_trial_diverged_and_what_to_lower(trials):
    assert trials[0].state is TrialState.FAIL
    assert "TrainingDiverged: the loss is" in trials[0].user_attrs["reason"]
    assert "lower learning_rate (now 10)" in trials[0].user_attrs["reason"]


def test_pruned_trials_have_the_epochs_from_their_first_rung_to_below_the_last(trials):
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]

    assert pruned
    for trial in pruned:
        assert 2 <= len(trial.intermediate_values) < 6


def test_complete_trials_have_every_epoch_and_the_value_of_their_best(trials):
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]

    assert complete
    for trial in complete:
        assert list(trial.intermediate_values) == [1, 2, 3, 4, 5, 6]
        assert trial.value == min(trial.intermediate_values.values())


def test_each_epoch_has_every_key_of_a_row(diverging):
    rows = [row for trial in diverging.trials() for row in trial.rows]

    of_folds = {"val_skill_ttl_se", "val_skill_dp_se"}
    if_asked = {"parameters", "clone_ms", "val_similarity", "violation"}
    expected = frozenset(EpochRow.__annotations__) - of_folds - if_asked
    assert {frozenset(row) for row in rows} == {expected}


def test_a_search_in_which_every_trial_fails_exits_with_5_and_the_reason(command):
    space = {**SPACE, "budget": {"trials": 1, "epochs": 6}}

    ended = command.run(*command.search_options(space))

    assert ended.returncode == 5
    assert "no trial of tiny gave a result: TrainingDiverged: the loss is" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def killed(tmp_path_factory, data_dir):
    """A search of one trial whose worker was killed, and that trial."""
    command = Command(tmp_path_factory.mktemp("killed"), data_dir)
    space = {"resources": {"concurrent": 1}, "budget": {"trials": 1, "epochs": 30}}
    process = command.start(*command.search_options(space))
    command.wait_for_rows(process, 3)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    _, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    (trial,) = command.experiment.trials()
    return command.experiment, trial


def test_a_trial_whose_worker_was_killed_has_each_epoch_once(killed):
    _, trial = killed

    assert trial.state == "COMPLETE"
    assert [row["epoch"] for row in trial.rows] == list(range(1, len(trial.rows) + 1))


def test_the_best_and_the_last_checkpoint_of_both_attempts_verify(killed):
    experiment, trial = killed

    assert None not in [experiment.checkpoint_file(row) for row in trial.rows]
    for row in (trial.best, trial.rows[-1]):
        assert load_state(experiment.checkpoint_file(row))["epoch"] == row["epoch"]
    assert len(experiment.checkpoint_files(0)) <= 2


def test_each_epoch_says_which_attempt_trained_it_and_when(killed):
    _, trial = killed

    attempts = [row["attempt"] for row in trial.rows]
    assert (attempts[0], attempts[-1]) == (1, 2)
    assert attempts == sorted(attempts)  # epochs that are told again keep their clock
    assert len({row["recorded_at"] for row in trial.rows}) == len(trial.rows)


def test_a_search_leaves_no_pickle(killed):
    assert not list(killed[0].checkpoints.glob("**/*.pkl"))


def test_a_trial_whose_worker_is_not_ready_for_it_is_handed_out_again(command):
    """With no time to end in, a worker refuses each next trial, and Tune forgets that one."""
    space = {"resources": {"concurrent": 1}, "budget": {"trials": 2, "epochs": 2}}
    environment = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "0"}

    ended = command.run(*command.search_options(space), environment=environment)

    assert ended.returncode == 0, ended.stderr
    trials = command.experiment.trials()
    assert [trial.state for trial in trials] == ["COMPLETE"] * 2
    assert all([row["epoch"] for row in trial.rows] == [1, 2] for trial in trials)
    assert len(list(command.experiment.checkpoints.glob("1/*"))) > 2  # else none was refused
    assert all(command.experiment.checkpoint_file(t.rows[-1]).is_file() for t in trials)
    kept = [command.experiment.checkpoint_files(trial.number) for trial in trials]
    assert [len(files) for files in kept] == [len(needed_checkpoints(trial)) for trial in trials]


def worker_of(driver: int) -> int:
    """The process that trains: below the driver, named by Ray after our actor."""
    table = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    rows = [line.split(None, 2) for line in table]
    below = {driver}
    for _ in range(4):  # driver, raylet, worker
        below |= {int(pid) for pid, parent, _ in rows if int(parent) in below}
    (worker,) = [int(pid) for pid, _, name in rows if int(pid) in below and re.search(WORKER, name)]
    return worker


@pytest.mark.long  # without Ray it is in test_distinct
def test_a_search_that_has_tried_every_config_says_so_and_has_succeeded(command):
    few = {
        "budget": {"trials": 9, "epochs": 2},
        "space": {"dropout": {"choice": [0.0, 0.1]}, "use_amp": {"choice": [False]}},
        "resources": {"concurrent": 1},
    }
    ended = command.run(*command.search_options(few))

    assert ended.returncode == 0, ended.stderr
    n_trials = len(command.experiment.trials())
    assert n_trials == command.experiment.space().n_trials <= 3
    assert f"every config of the space has been tried: {n_trials} trials\n" in ended.stdout
