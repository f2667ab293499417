"""A search on given curves, without Ray: the searcher, the scheduler, the steering, the record."""

import itertools
import json
from contextlib import ExitStack
from types import SimpleNamespace

from tests.builders import epoch_row, worker_settings
from tune_encoder.tuning.driver.known import nothing_known
from tune_encoder.tuning.driver.recording_scheduler import RecordingScheduler
from tune_encoder.tuning.driver.searcher import StudySearcher
from tune_encoder.tuning.driver.steering import POLL_S, Steering
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.restore import open_database


class DrivenSearch:
    """Workers whose epochs have the metric `value_of(trial's number, epoch)`.

    Started again, it knows only what stands in the record.
    """

    def __init__(
        self, experiment, space, value_of, workers=2, known=nothing_known, measured=nothing_known
    ):
        """`known` and `measured` are of a config: before it is trained, and in each of its rows."""
        self.experiment, self.space = experiment, space
        self.value_of, self.workers = value_of, workers
        self._known, self._measured = known, measured
        self._opened = ExitStack()
        self._names = itertools.count()
        self.start()

    def start(self):
        """What a launch or a resume does."""
        self.close()
        database = self._opened.enter_context(open_database(self.experiment))
        self.record = Record.open(self.experiment, self.space, database)
        self.scheduler = RecordingScheduler(self.record, "1")
        self.scheduler.replay()
        capacity = self._capacity
        self.steering = Steering(self.record, self.scheduler, capacity)
        self.searcher = StudySearcher(
            self.record, self.scheduler, self.steering, worker_settings(), capacity, self._known
        )
        self.running, self.leaving = [], []

    def _capacity(self):
        return self.workers

    def step(self):
        """One epoch of the trial that is next; False when no trial runs."""
        self.steering._polled = -POLL_S  # or it would look again only after a while
        self.steering.poll()
        self._fill_workers()  # Tune asks already while a stopped trial's checkpoint is moved
        for trial in self.leaving:
            self.searcher.on_trial_complete(trial.trial_id)
        self.leaving = []
        self._fill_workers()
        if not self.running:
            return False
        trial = min(self.running, key=self._next)
        if self.scheduler.on_trial_result(None, trial, {"row": self._row(trial)}) == "STOP":
            self.leaving.append(trial)
            self.running.remove(trial)
        return True

    def run(self):
        while self.step():
            pass

    def run_in_pieces(self, every):
        """Run until nothing is left, and resume after each `every` steps, as after a kill."""
        n_steps = 1
        while self.step():
            if n_steps % every == 0:
                self.start()
            n_steps += 1

    def close(self):
        """Let go of the record's database, if there is one."""
        self._opened.close()

    def _fill_workers(self):
        while len(self.running) < self.workers:
            name = f"{next(self._names)}"
            config = self.searcher.suggest(name)
            if not isinstance(config, dict):
                return
            in_hand = [trial.config["number"] for trial in self.running + self.leaving]
            assert config["number"] not in in_hand
            place = SimpleNamespace(trial_dir_name="any")
            self.running.append(SimpleNamespace(config=config, trial_id=name, storage=place))
            self.scheduler.on_trial_add(None, self.running[-1])

    def _next(self, trial):
        number = trial.config["number"]
        return len(self.record.trials[number].rows), number

    def _row(self, trial):
        number, epoch = trial.config["number"], self._next(trial)[0] + 1
        finished = epoch == self.space.budget.epochs
        value = self.value_of(number, epoch)
        more = self._measured(json.loads(trial.config["settings"]))
        return json.dumps(epoch_row(epoch, value, self.space, finished=finished, **more))

    def outcome(self):
        return [
            (trial.state, trial.settings, [row["val_loss"] for row in trial.rows])
            for trial in self.experiment.trials()
        ]
