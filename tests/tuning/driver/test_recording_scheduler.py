from pathlib import Path

import numpy as np
import pytest

from tests.builders import new_experiment
from tests.tuning.driven import DrivenSearch
from tune_encoder.space import parse_space

N_TRIALS, EPOCHS = 8, 9
SPACE = parse_space(
    {
        "budget": {"trials": N_TRIALS, "epochs": EPOCHS},
        "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 3},
        "searcher": {"name": "random", "closed_form": False},
        "space": {"dropout": {"float": [0.0, 0.5]}},
    },
    "test",
    Path(),
)
CURVES = np.sort(np.random.default_rng(4).uniform(size=(N_TRIALS, EPOCHS)))[:, ::-1]


def search_in(folder):
    experiment = new_experiment(folder, "curves", SPACE)
    return DrivenSearch(experiment, SPACE, lambda number, epoch: float(CURVES[number, epoch - 1]))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    search = search_in(tmp_path_factory.mktemp("whole"))
    search.run()
    return search.outcome()


def test_some_trials_are_stopped_and_some_are_not(uninterrupted):
    assert {state for state, _, _ in uninterrupted} == {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_search_resumed_again_and_again_decides_as_an_uninterrupted_one(
    uninterrupted, tmp_path, every
):
    search = search_in(tmp_path)
    search.run_in_pieces(every)

    assert search.outcome() == uninterrupted


def test_a_row_that_was_recorded_but_not_decided_on_is_decided_on_by_the_resume(
    uninterrupted, tmp_path, monkeypatch
):
    stopped = next(i for i, (state, _, _) in enumerate(uninterrupted) if state == "PRUNED")
    search = search_in(tmp_path)
    while search.record.trials.get(stopped) is None or not search.record.trials[stopped].rows:
        before = len(search.record.rows_in_order())
        monkeypatch.setattr(search.record, "prune", lambda number: None)  # killed before deciding
        search.step()
    assert before == len(search.record.rows_in_order()) - 1
    assert search.experiment.trials()[stopped].state == "RUNNING"

    search.start()

    assert search.experiment.trials()[stopped].state == "PRUNED"


def test_a_trial_whose_worker_reports_a_failure_fails_with_its_reason(tmp_path):
    search = search_in(tmp_path)
    search.step()
    told = {"failure": "TrainingDiverged: the loss is nan"}

    decision = search.scheduler.on_trial_result(None, search.running[0], told)

    assert decision == "STOP"
    trial = search.experiment.trials()[0]
    assert (trial.state, trial.reason) == ("FAIL", "TrainingDiverged: the loss is nan")


def test_a_worker_that_cannot_read_its_storage_ends_the_search_and_fails_no_trial(tmp_path):
    search = search_in(tmp_path)
    search.step()

    decision = search.scheduler.on_trial_result(None, search.running[0], {"storage": "disk: gone"})
    search.run()

    assert decision == "STOP"
    assert search.steering.stop_reason == "disk: gone"
    assert search.experiment.trials()[0].state == "RUNNING"


def test_a_trial_that_a_full_disk_has_ended_does_not_fail_but_ends_the_search(tmp_path):
    search = search_in(tmp_path)
    search.step()

    search.scheduler.fail(
        0, "OSError: [Errno 28] Cannot create 'a'. Detail: No space left on device"
    )

    assert search.experiment.trials()[0].state == "RUNNING"
    assert "No space left on device; make room on the disk" in search.scheduler.storage_problem


def test_a_full_disk_under_the_driver_ends_the_search_and_fails_no_trial(small_disk):
    search = search_in(small_disk(12))

    search.run()

    assert "No space left on device" in search.scheduler.storage_problem
    assert "FAIL" not in {trial.state for trial in search.experiment.trials()}


def test_a_note_of_a_worker_is_said_and_changes_nothing(tmp_path, capsys):
    search = search_in(tmp_path)
    search.step()
    before = search.outcome()

    decision = search.scheduler.on_trial_result(
        None, search.running[0], {"note": "trial 0: a note"}
    )

    assert decision == "CONTINUE"
    assert capsys.readouterr().err == "trial 0: a note\n"
    assert search.outcome() == before
