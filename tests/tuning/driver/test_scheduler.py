import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tune_encoder.experiment.folder import create_experiment
from tune_encoder.space import parse_space, space_to_content
from tune_encoder.tuning.driver.scheduler import RecordingScheduler
from tune_encoder.tuning.record.record import Record

N_TRIALS, EPOCHS, WORKERS = 8, 9, 2
SPACE = parse_space(
    {
        "budget": {"trials": N_TRIALS, "epochs": EPOCHS},
        "scheduler": {"grace_period": 1, "reduction_factor": 3},
        "searcher": {"name": "random"},
        "space": {"dropout": {"float": [0.0, 0.5]}},
    },
    "test",
    Path(),
)
CURVES = np.sort(np.random.default_rng(4).uniform(size=(N_TRIALS, EPOCHS)))[:, ::-1]


class Search:
    """Feeds recorded curves to the scheduler as two workers would, without Ray."""

    def __init__(self, folder):
        content = {
            "space": space_to_content(SPACE),
            "data_dir": "",
            "fingerprint": "",
            "versions": {},
        }
        self.experiment = create_experiment(folder, "curves", content)
        self.start()

    def start(self):
        """What a launch or a resume does."""
        self.record = Record.open(self.experiment, SPACE)
        self.scheduler = RecordingScheduler(self.record, "1")
        self.scheduler.replay()
        self.running = [trial.number for trial in self.record.unfinished()]
        for number in self.running:
            self.scheduler.on_trial_add(None, named(number))

    def step(self):
        """One epoch of the trial that is next; False when the search is done."""
        while len(self.running) < WORKERS and self.record.n_started() < N_TRIALS:
            trial = self.record.ask()
            assert trial is not None
            self.running.append(trial.number)
            self.scheduler.on_trial_add(None, named(trial.number))
        if not self.running:
            return False
        number = min(self.running, key=lambda n: (len(self.record.trials[n].rows), n))
        epoch = len(self.record.trials[number].rows) + 1
        loss, finished = float(CURVES[number, epoch - 1]), epoch == EPOCHS
        row = {"epoch": epoch, "val_loss": loss, "finished": finished}
        result = {"row": json.dumps(row)}
        if self.scheduler.on_trial_result(None, named(number), result) == "STOP":
            self.running.remove(number)
        return True

    def outcome(self):
        return [
            (trial.state, trial.settings, [row["val_loss"] for row in trial.rows])
            for trial in self.experiment.trials()
        ]


def named(number):
    place = SimpleNamespace(trial_dir_name=f"{number:04d}")
    return SimpleNamespace(config={"number": number}, storage=place)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    search = Search(tmp_path_factory.mktemp("whole"))
    while search.step():
        pass
    return search.outcome()


def test_some_trials_are_stopped_and_some_are_not(uninterrupted):
    assert {state for state, _, _ in uninterrupted} == {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_search_resumed_again_and_again_decides_as_an_uninterrupted_one(
    uninterrupted, tmp_path, every
):
    search = Search(tmp_path)
    n_steps = 1
    while search.step():
        if n_steps % every == 0:
            search.start()
        n_steps += 1

    assert search.outcome() == uninterrupted


def test_a_row_that_was_recorded_but_not_decided_on_is_decided_on_by_the_resume(
    uninterrupted, tmp_path, monkeypatch
):
    stopped = next(i for i, (state, _, _) in enumerate(uninterrupted) if state == "PRUNED")
    search = Search(tmp_path)
    while search.record.trials.get(stopped) is None or not search.record.trials[stopped].rows:
        before = len(search.record.rows_in_order())
        monkeypatch.setattr(search.record, "prune", lambda number: None)  # killed before deciding
        search.step()
    assert before == len(search.record.rows_in_order()) - 1
    assert search.experiment.trials()[stopped].state == "RUNNING"

    search.start()

    assert search.experiment.trials()[stopped].state == "PRUNED"
