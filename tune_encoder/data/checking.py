"""Validation of a data set: every file is read once, every problem is reported with its file."""

import hashlib
import shlex
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tune_encoder.data.audio import outer_silence_s
from tune_encoder.data.samples import (
    MAX_MEMBER_BYTES,
    SPLITS,
    Sample,
    claimed_bytes,
    find_samples,
    member_checksums,
    read_sample,
)
from tune_encoder.errors import DataError, StyleNormError
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.formats import count_noun, quote_path
from tune_encoder.system.workers import usable_cores

REQUIRED_SPLITS = ("train", "val")
# Reading and torch's FFT release the interpreter's lock, for which more threads only wait: of two
# cores' four threads read 4,256 clips in 16 s, two in 11 s, one in 17 s. More cores were not tried.
N_THREADS = min(4, max(2, usable_cores()))
MAX_FILES_AHEAD = 8 * N_THREADS  # enough to keep the threads busy while one file takes long
MAX_BYTES_AHEAD = MAX_MEMBER_BYTES  # of the process: of so many threads each may read a large file
MAX_PROBLEMS_SHOWN = 5
MAX_OUTER_SILENCE_S = 0.5  # of both ends together; a quarter of a window of training

Result = TypeVar("Result")


@dataclass(frozen=True)
class Problem:
    """A problem of a data set and its path; an error stops a run, a warning does not."""

    path: Path
    message: str
    is_error: bool = True
    can_be_repaired: bool = False
    """Whether it is a style that `data repair` scales or leaves out."""


@dataclass
class SplitSummary:
    """One row of the table that `data check` prints."""

    name: str
    clips: int = 0
    voices: set[str] = field(default_factory=set)
    durations: list[float] = field(default_factory=list)
    """Seconds of each clip."""
    sample_rates: Counter[int | None] = field(default_factory=Counter)
    styles: set[bytes] = field(default_factory=set)
    """Digest of each `style_ttl`."""
    rhythms: set[bytes] = field(default_factory=set)
    """Digest of each `style_dp`."""

    def add(self, sample: Sample, assumed_rate: int) -> None:
        """Count one readable sample."""
        self.clips += 1
        if sample.voice is not None:
            self.voices.add(sample.voice)
        self.durations.append(len(sample.audio) / (sample.sample_rate or assumed_rate))
        self.sample_rates[sample.sample_rate] += 1
        self.styles.add(hashlib.sha256(sample.style_ttl.tobytes()).digest())
        self.rhythms.add(hashlib.sha256(sample.style_dp.tobytes()).digest())

    @property
    def style_parts(self) -> dict[str, set[bytes]]:
        """The digests of the two parts of its styles."""
        return {"style_ttl": self.styles, "style_dp": self.rhythms}

    @property
    def seconds(self) -> float:
        """Duration of all clips."""
        return sum(self.durations)


@dataclass(frozen=True)
class DataReport:
    """The result of a check."""

    splits: list[SplitSummary]
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a run."""
        return [problem for problem in self.problems if problem.is_error]

    def raise_errors(self, data_dir: Path) -> None:
        """Raise one `DataError` for all errors, if there are any."""
        if not self.errors:
            return
        shown = "; ".join(problem.message for problem in self.errors[:MAX_PROBLEMS_SHOWN])
        more = len(self.errors) - MAX_PROBLEMS_SHOWN
        rest = (
            f"; and {more} more, see `tune-encoder data check {quote_path(data_dir)}`"
            if more > 0
            else ""
        )
        raise DataError(shown + rest + self.repair_hint(data_dir))

    def repair_hint(self, data_dir: Path) -> str:
        """Return the words that name `data repair`; empty if it would repair nothing."""
        count = sum(problem.can_be_repaired for problem in self.problems)
        if not count:
            return ""
        return (
            f"; for the {count_noun(count, 'style')} of another norm than 1: "
            f"`tune-encoder data repair {shlex.quote(str(data_dir))} --out NEW`"
        )


def check_data(data_dir: Path, assumed_rate: int) -> DataReport:
    """Read and check every sample of a data set; see `DataCheck`.

    It also warns of silent ends: import and `clone` cut them off, but no search does.
    """
    check = DataCheck(data_dir, assumed_rate)
    silent: dict[str, list[Path]] = {name: [] for name in SPLITS}
    for name, path, _, seconds in check.samples(
        "checking", lambda sample: outer_silence_s(sample.audio, sample.sample_rate or assumed_rate)
    ):
        if seconds > MAX_OUTER_SILENCE_S:
            silent[name].append(path)
    report = check.report()
    warnings = [_silence_warning(name, paths) for name, paths in silent.items() if paths]
    return DataReport(report.splits, [*report.problems, *warnings])


def _silence_warning(split: str, paths: list[Path]) -> Problem:
    message = (
        f"{count_noun(len(paths), 'clip')} of {split}, such as {paths[0].name}, with more than "
        f"{MAX_OUTER_SILENCE_S:g} s of silence at the ends, which `clone` cuts off: cut it off "
        "here too"
    )
    return Problem(paths[0], message, is_error=False)


class DataCheck:
    """Reads every sample of a data set once, yields the valid ones and collects problems."""

    def __init__(self, data_dir: Path, assumed_rate: int) -> None:
        """Find the files.

        Args:
            data_dir: Folder with train/, val/ and optionally test/.
            assumed_rate: Hz, of files without a `sample_rate`.
        """
        self.data_dir, self._assumed_rate = data_dir, assumed_rate
        self._paths = {name: find_samples(data_dir / name) for name in SPLITS}
        self._problems = list(layout_problems(data_dir, self._paths))
        self._splits: list[SplitSummary] = []

    def samples(
        self, description: str, make: Callable[[Sample], Result]
    ) -> Iterator[tuple[str, Path, Sample, Result]]:
        """Yield split, path, sample and the result of `make` for each valid file.

        Call it once; if the folder is not a data set, it yields nothing.

        Args:
            description: Of the progress bar.
            make: Called with each sample, in a thread pool.
        """
        if self._problems:
            return
        total = sum(len(found) for found in self._paths.values())
        with (
            progress_bar(total=total, description=description) as bar,
            ThreadPoolExecutor(N_THREADS) as pool,
        ):
            for name, paths in self._paths.items():
                summary = SplitSummary(name)
                self._splits.append(summary)
                # The iterator has no name: when it is freed, it cancels what no thread has begun.
                for path, found in read_ahead(pool, paths, lambda path: _try(path, make)):
                    bar.update()
                    if isinstance(found, DataError):
                        is_norm = isinstance(found, StyleNormError)
                        self._problems.append(Problem(path, str(found), can_be_repaired=is_norm))
                    else:
                        summary.add(found[0], self._assumed_rate)
                        yield name, path, *found
                    del found  # before the next is waited for

    def report(self) -> DataReport:
        """Return the problems of what was read."""
        unknown = [
            _assumed_rate_warning(summary, count, self._assumed_rate)
            for summary in self._splits
            if (count := summary.sample_rates[None])
        ]
        shared = _shared_between_splits(self.data_dir, self._splits)
        same = [] if self._problems else _one_style_problems(self.data_dir, self._splits)
        return DataReport(self._splits, [*self._problems, *same, *unknown, *shared])


def read_ahead(
    pool: ThreadPoolExecutor, paths: Iterable[Path], work: Callable[[Path], Result]
) -> Iterator[tuple[Path, Result]]:
    """Yield each path and the result of `work`, in order, while the next are worked on.

    All that is in work or waits here claims at most `MAX_BYTES_AHEAD`, or is a single file.
    """
    waiting: deque[tuple[Path, Future[Result], int]] = deque()
    try:
        for path in paths:
            size = claimed_bytes(path)
            while waiting and (
                len(waiting) >= MAX_FILES_AHEAD
                or size + sum(claimed for *_, claimed in waiting) > MAX_BYTES_AHEAD
            ):
                done = waiting.popleft()
                yield done[0], done[1].result()
                del done  # a caller that is done with it has freed it
            waiting.append((path, pool.submit(work, path), size))
        while waiting:
            path, future, _ = waiting.popleft()
            yield path, future.result()
            del future
    finally:
        for _, future, _ in waiting:
            future.cancel()


def _try(path: Path, make: Callable[[Sample], Result]) -> tuple[Sample, Result] | DataError:
    try:
        sample = read_sample(path)
        return sample, make(sample)
    except DataError as error:
        return error


def _assumed_rate_warning(summary: SplitSummary, count: int, rate: int) -> Problem:
    verb = "has" if count == 1 else "have"
    clips = f"{count_noun(count, 'clip')} of {summary.name}"
    message = f"{clips} {verb} no sample_rate; {rate} Hz is assumed"
    return Problem(Path(summary.name), message, is_error=False)


def layout_problems(data_dir: Path, paths: dict[str, list[Path]]) -> Iterator[Problem]:
    """Yield what keeps a folder from being a data set.

    Args:
        data_dir: The folder.
        paths: The samples of each split.
    """
    if not data_dir.is_dir():
        yield Problem(data_dir, f"{data_dir}: no such folder; it must hold train/ and val/")
        return
    for name in REQUIRED_SPLITS:
        folder = data_dir / name
        if not folder.is_dir():
            yield Problem(folder, f"{folder}: no such folder; put npz samples into it")
        elif not paths[name]:
            yield Problem(folder, f"{folder}: holds no npz file; put samples into it")


def _shared_between_splits(data_dir: Path, splits: list[SplitSummary]) -> Iterator[Problem]:
    """A style that is in both training and validation data makes the score too good."""
    for i, first in enumerate(splits):
        for second in splits[i + 1 :]:
            if shared := len(first.styles & second.styles):
                verb = "is" if shared == 1 else "are"
                message = (
                    f"{count_noun(shared, 'style')} {verb} in both {first.name} and {second.name}: "
                    "scores tell how well known voices are recognised, not how well new ones are "
                    "cloned"
                )
                yield Problem(data_dir, message, is_error=False)


def _one_style_problems(data_dir: Path, splits: list[SplitSummary]) -> Iterator[Problem]:
    """If all training clips are of one style, an encoder learns to predict it from any sound."""
    for train in splits:
        if train.name != "train" or not train.clips:
            continue
        same = [name for name, found in train.style_parts.items() if len(found) == 1]
        if same:
            clips = count_noun(train.clips, "clip")
            message = (
                f"{data_dir / train.name}: {clips} of a single {' and '.join(same)}, which teaches "
                "nothing; add clips of other voices"
            )
            yield Problem(data_dir, message)


def fingerprint(data_dir: Path) -> str:
    """Return a hash of a data set's content, from the checksums in its npz files' directories."""
    digest = hashlib.sha256()
    for name in SPLITS:
        for path in find_samples(data_dir / name):
            digest.update(f"{name}/{path.name} {member_checksums(path)}\n".encode())
    return digest.hexdigest()


def warning_messages(problems: Iterable[Problem]) -> list[str]:
    """Return the messages of the problems that do not stop a run."""
    return [problem.message for problem in problems if not problem.is_error]
