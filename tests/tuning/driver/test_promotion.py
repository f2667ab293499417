"""A search that promotes, killed at any of its writes, without Ray: two workers on curves."""

import itertools
import json
import shutil
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from tests.benchmarks.simulate import CURVES, Table, changed
from tune_encoder.experiment.folder import create_experiment
from tune_encoder.space import space_to_content
from tune_encoder.tuning.driver.early_stopping import PromotionRule
from tune_encoder.tuning.driver.scheduler import RecordingScheduler
from tune_encoder.tuning.driver.searcher import StudySearcher
from tune_encoder.tuning.driver.steering import Steering
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.restore import open_database, restore

N_TRIALS, N_STARTUP, EPOCHS, WORKERS = 9, 4, 9, 2
TABLE = Table.read(CURVES)
SPACE = changed(changed(TABLE.space, "budget", trials=N_TRIALS), "scheduler", name="asha-promote")
SPACE = changed(SPACE, "searcher", startup_trials=N_STARTUP)
WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_state_values",
)


class Killed(BaseException):
    """What no code of ours may catch."""


class Search:
    """Two workers on recorded curves; begun again, it knows only what stands in the record."""

    def __init__(self, folder, space=SPACE, losses=TABLE.losses, url=""):
        self.space, self.losses = space, losses
        content = {
            "space": space_to_content(space),
            "data_dir": "",
            "fingerprint": "",
            "versions": {},
        }
        content["record"] = url
        self.opened = ExitStack()
        self.experiment = create_experiment(folder, "curves", content)
        self.names = itertools.count()

    def start(self):
        """What a launch or a resume does."""
        self.opened.close()
        database = self.opened.enter_context(open_database(self.experiment))
        self.record = Record.open(self.experiment, self.space, database)
        self.scheduler = RecordingScheduler(self.record, "1")
        self.scheduler.replay()
        steering = Steering(self.record, self.scheduler, lambda: WORKERS)
        self.searcher = StudySearcher(self.record, self.scheduler, steering, {}, lambda: WORKERS)
        self.running, self.leaving = [], []

    def step(self):
        """One epoch of the trial that is next; False when the search is done."""
        self._fill_workers()  # Tune asks already while a stopped trial's checkpoint is moved
        for trial in self.leaving:
            self.searcher.on_trial_complete(trial.trial_id)
        self.leaving = []
        self._fill_workers()
        if not self.running:
            return False
        trial = min(self.running, key=self._next)
        number, epoch = trial.config["number"], self._next(trial)[0] + 1
        row = {
            "epoch": epoch,
            "val_loss": self.losses[number][epoch - 1],
            "finished": epoch == EPOCHS,
        }
        if self.scheduler.on_trial_result(None, trial, {"row": json.dumps(row)}) == "STOP":
            self.leaving.append(trial)
            self.running.remove(trial)
        return True

    def _fill_workers(self):
        while len(self.running) < WORKERS:
            name = f"{next(self.names)}"
            config = self.searcher.suggest(name)
            if not isinstance(config, dict):
                return
            in_hand = [trial.config["number"] for trial in self.running + self.leaving]
            assert config["number"] not in in_hand
            self.running.append(SimpleNamespace(config=config, trial_id=name, storage=STORAGE))
            self.scheduler.on_trial_add(None, self.running[-1])

    def run(self):
        while self.step():
            pass

    def _next(self, trial):
        number = trial.config["number"]
        return len(self.record.trials[number].rows), number

    def outcome(self):
        return [
            (trial.state, trial.settings, [row["val_loss"] for row in trial.rows])
            for trial in self.experiment.trials()
        ]

    def count_writes(self, monkeypatch, kill_at=None):
        """Count what is written to the study, and end the program at a write if asked to."""
        self.n_writes = 0

        def counted(write):
            def wrapper(*arguments, **named):
                self.n_writes += 1
                if self.n_writes == kill_at:
                    raise Killed
                return write(*arguments, **named)

            return wrapper

        study = self.record._study
        stored = [study._file, *([study._database.study] if study._database else [])]
        for storage, name in itertools.product([each.storage for each in stored], WRITES):
            monkeypatch.setattr(storage, name, counted(getattr(storage, name)))


STORAGE = SimpleNamespace(trial_dir_name="any")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    search = Search(tmp_path_factory.mktemp("whole"))
    search.start()
    with pytest.MonkeyPatch.context() as patch:
        search.count_writes(patch)
        search.run()
    return search


def test_of_nine_trials_three_go_on_and_one_goes_to_the_end(uninterrupted):
    outcome = uninterrupted.outcome()

    assert sorted(len(losses) for _, _, losses in outcome) == [1] * 6 + [3] * 2 + [9]
    assert [state for state, _, _ in outcome if state != "PRUNED"] == ["COMPLETE"]


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_search_resumed_again_and_again_promotes_as_an_uninterrupted_one(
    uninterrupted, tmp_path, every
):
    search = Search(tmp_path)
    search.start()
    n_steps = 1
    while search.step():
        if n_steps % every == 0:
            search.start()
        n_steps += 1

    assert search.outcome() == uninterrupted.outcome()


@pytest.mark.parametrize("tenth", range(10))
def test_a_search_killed_at_a_write_goes_on_as_if_it_never_was(uninterrupted, tmp_path, tenth):
    search = Search(tmp_path)
    search.start()
    with pytest.MonkeyPatch.context() as patch:
        search.count_writes(patch, kill_at=1 + tenth + tenth * uninterrupted.n_writes // 11)
        with pytest.raises(Killed):
            search.run()
    search.start()
    search.run()

    assert search.outcome() == uninterrupted.outcome()


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("third", range(3))
def test_a_search_killed_at_a_write_to_either_database_goes_on_as_if_it_never_was(
    uninterrupted, tmp_path, third, is_lost
):
    url = f"sqlite:///{tmp_path}/record.db"
    search = Search(tmp_path, url=url)
    search.start()
    with pytest.MonkeyPatch.context() as patch:
        kill_at = 20 + third + third * 2 * uninterrupted.n_writes // 4
        search.count_writes(patch, kill_at)
        with pytest.raises(Killed):
            search.run()
    if is_lost:
        shutil.rmtree(search.experiment.path)
        restore(search.experiment.path, url)
    search.start()
    search.run()

    assert search.outcome() == uninterrupted.outcome()
    search.opened.close()


def test_a_trial_is_not_promoted_before_its_worker_has_let_go_of_it(tmp_path):
    """The last of three is the best, and with the second worker idle Tune asks at once."""
    losses = [[0.9] * EPOCHS, [0.8] * EPOCHS, [0.1] * EPOCHS]
    search = Search(tmp_path, changed(SPACE, "budget", trials=3), losses)
    search.start()
    search.run()

    assert [len(trial.rows) for trial in search.experiment.trials()] == [1, 1, EPOCHS]


def test_a_trial_that_an_older_version_paused_between_two_rungs_goes_on_to_the_next(tmp_path):
    search = Search(tmp_path, changed(SPACE, "scheduler", reduction_factor=2.5))
    search.start()
    search.scheduler.rule = PromotionRule([1, 2, 6], 2.5)  # the nearest whole epochs
    while not (waits := [n for n in search.record.paused() if len(rows_of(search, n)) == 2]):
        search.step()

    search.start()
    search.run()

    assert all(len(rows_of(search, number)) > 2 for number in waits)
    assert {state for state, *_ in search.outcome()} == {"COMPLETE", "PRUNED"}
    assert {len(losses) for *_, losses in search.outcome()} == {1, 3, EPOCHS}


def rows_of(search, number):
    return search.record.trials[number].rows


def test_the_sampler_learns_from_trials_that_wait_at_a_rung(uninterrupted, tmp_path):
    search = Search(tmp_path, changed(SPACE, "searcher", startup_trials=N_TRIALS))
    search.start()
    search.run()
    at_random = [settings for _, settings, _ in search.outcome()]
    learned = [settings for _, settings, _ in uninterrupted.outcome()]

    known = N_STARTUP + WORKERS - 1  # one more has begun when so many have reported
    assert learned[:known] == at_random[:known]
    assert all(a != b for a, b in zip(learned[known:], at_random[known:], strict=True))
