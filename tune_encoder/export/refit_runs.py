"""Runs that train again on all voices, several side by side where there are cores for them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from tune_encoder.config import TrainConfig
from tune_encoder.data.folds import all_voices
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.score_words import NEW
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.run import FINAL
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.lock import lock_experiment
from tune_encoder.system.workers import Work, Workers, default_workers
from tune_encoder.training.checkpoints import State, newest_valid_checkpoint, save_state
from tune_encoder.training.loop import ending_at, train
from tune_encoder.training.state import TrainState

MAX_AT_ONCE = 8  # each loads torch, a third of a gigabyte
_ADVICE = "if memory was short, end other programs; the same command continues"

OnEpoch = Callable[[EpochRow], None]


@dataclass(frozen=True)
class RefitRun:
    """A run into a folder of its own, which resumes there."""

    config: TrainConfig
    last: int
    """The epoch at which it ends; its learning rates are those of all epochs of the config."""
    folder: Path

    @property
    def done(self) -> int:
        """How many epochs are trained."""
        state = self._newest_state()
        return state["epoch"] if state else 0

    def train(self, data: PackedData, on_epoch: OnEpoch) -> None:
        """Train what is left of it.

        Raises:
            StorageError: if another process is training it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock_experiment(self.folder), _threads_as_before(), ending_at(self.last) as check:
            checkpoint = self._newest_state()

            def report(row: EpochRow, state: TrainState) -> None:
                save_state(self.folder / FINAL, state.state_dict())
                on_epoch(row)
                check(row)

            if checkpoint is None or checkpoint["epoch"] < self.last:
                train(self.config, data, self.folder, report, checkpoint)

    def read_state(self) -> State:
        """Return its state, once it has ended."""
        state = self._newest_state()
        assert state is not None
        return state

    def _newest_state(self) -> State | None:
        file = self.folder / FINAL
        return newest_valid_checkpoint([file] if file.exists() else [])[1]


@contextmanager
def _threads_as_before() -> Iterator[None]:
    """Leave torch the threads it had: a notebook may go on."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class AllVoices:
    """Train and val of a data set together, on which runs are trained."""

    divided: PackedData
    kind: str = NEW
    """As in `all_voices`."""

    @cached_property
    def data(self) -> PackedData:
        """Both in train; the same in every process."""
        with threadpool_limits(1, "blas"):
            return all_voices(self.divided, self.kind)


def train_runs(
    runs: Sequence[RefitRun], voices: AllVoices, on_epoch: OnEpoch, *, side_by_side: bool
) -> None:
    """Train what is left of each run.

    Args:
        runs: What to train.
        voices: On which.
        on_epoch: Called with the row of every epoch of any run, once it is saved.
        side_by_side: Whether several may train at once, each in a process of its own.

    Raises:
        StorageError: if another process is training one of them.
    """
    done = [run.done for run in runs]
    left = [run for run, n in zip(runs, done, strict=True) if n < run.last]
    what = f"training {len(runs)} times" if len(runs) > 1 else "training"
    with progress_bar(
        total=sum(run.last for run in runs),
        done=sum(done),
        description=f"{what} on train and val",
        unit="epoch",
    ) as bar:

        def tell(row: EpochRow) -> None:
            bar.update()
            on_epoch(row)

        pack = voices.divided.folder
        count = _n_at_once(left) if side_by_side else 1
        if pack is not None and count > 1:
            workers = Workers(partial(_start, pack, voices.kind), count, _ADVICE)
            with closing(workers.do(runs)) as rows:
                for row in rows:
                    tell(row)
        else:
            for run in runs:
                run.train(voices.data, tell)


def _n_at_once(runs: Sequence[RefitRun]) -> int:
    """How many runs there are cores for."""
    threads = max((run.config.num_threads or 1 for run in runs), default=1)
    return min(len(runs), max(1, default_workers(threads * MAX_AT_ONCE) // threads))


def _start(pack: Path, kind: str) -> Work[RefitRun, EpochRow]:
    """Open the data in a worker; return what trains a run on it."""
    voices = AllVoices(open_pack(pack), kind)
    return lambda run, answer: run.train(voices.data, answer)
