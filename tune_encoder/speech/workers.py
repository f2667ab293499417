"""Making clips, in processes side by side."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from tune_encoder.speech.clips import Clip, Made, Script, make_clip
from tune_encoder.speech.engine import Engine
from tune_encoder.system.workers import Work, Workers

_ADVICE = "if memory was short, use fewer --workers; the same command continues"
MAX_DEFAULT_WORKERS = 8  # each holds the models, half a gigabyte


@dataclass(frozen=True)
class Studio:
    """What a worker needs to make any clip."""

    model: str
    folder: Path
    script: Script

    def make_all(self, clips: Sequence[Clip], n_workers: int) -> Iterator[Made]:
        """Make all clips, in any order.

        Raises:
            OSError: of the disk.
            StorageError: if a worker dies.
        """
        if min(n_workers, len(clips)) > 1:
            with closing(Workers(self._start, n_workers, _ADVICE, ahead=2).do(clips)) as made:
                yield from made
            return
        engine = Engine(self.model, self.folder)
        # A sum of floats depends on how many threads share it.
        with threadpool_limits(1):
            for clip in clips:
                yield make_clip(engine, self.script, clip)

    def _start(self) -> Work[Clip, Made]:
        """Open the models, on one thread as above; return what makes a clip with them."""
        engine = Engine(self.model, self.folder)
        threadpool_limits(1)
        return lambda clip, answer: answer(make_clip(engine, self.script, clip))
