"""Running cases: each is a mutation, made by a generator of its own, that a reader is given."""

import contextlib
import io
import re
import resource
import signal
import time
import traceback
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tune_encoder.cli import main
from tune_encoder.errors import ConfigError, TuneEncoderError

CASE_S = 5.0  # of computing; a case that takes longer hangs
WAIT_S = 60.0  # of a case that waits, on a machine that may be busy
MEMORY_BYTES = 2**30  # that a case may take beyond what the program has
_CODES = (2, 3, 4, 5)  # of the README; 1 is our own fault
_OF_SEVERAL = r"tune-encoder: (\d+) of \d+ recordings could not be cloned"
_OUT_OF_MEMORY = re.compile(r"allocat|bad_alloc|out of memory", re.IGNORECASE)


class Hang(BaseException):
    """A case took too long; no `except Exception` of the reader stops it."""


class Kind:
    """One kind of input: makes its files in a folder once, then runs any number of cases."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, rng):
        """Make a mutation and read it.

        Raises:
            TuneEncoderError: if it is refused, as it should be.
            AssertionError: if it is read as something else than what it says.
        """
        raise NotImplementedError


@dataclass
class Tally:
    """What came out of the cases of one kind."""

    kind: str
    cases: int = 0
    refused: int = 0
    read: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def run_cases(name, kind, seed, numbers):
    """Run the cases of these numbers; equal seeds and numbers give equal cases."""
    tally = Tally(name)
    with _limits():
        for number in numbers:
            _run_case(kind, case_generator(name, seed, number), tally, f"{name} {seed} {number}")
    return tally


def case_generator(name, seed, number):
    """The generator of one case."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), number])


def _run_case(kind, rng, tally, case):
    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, CASE_S)
    signal.setitimer(signal.ITIMER_REAL, WAIT_S)
    try:
        kind.run(rng)
        tally.read += 1
    except TuneEncoderError as error:
        if _ran_out_of_memory(error):
            tally.failures.append(f"{case}: more than 1 GB: {error}"[:300])
        tally.refused += 1
    except (Hang, Exception) as error:  # noqa: BLE001  # these are what the cases look for
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        tally.failures.append(f"{case}: {place} {type(error).__name__}: {error}"[:300])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    tally.cases += 1
    tally.slowest_s = max(tally.slowest_s, time.process_time() - start)


def _ran_out_of_memory(error):
    while error is not None:
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)[:1000]):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def _limits():
    """Raise `Hang` when time is up, limit memory, and keep warnings of odd numbers quiet."""

    def hang(number, frame):
        raise Hang(f"no end after {CASE_S:g} s of computing or {WAIT_S:g} s of waiting")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = {number: signal.signal(number, hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, hard))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in before.items():
            signal.signal(number, handler)


def run_command(*arguments):
    """Run a command line and return what it prints.

    Raises:
        TuneEncoderError: if it ends with a code of the README and one line, or one of each
            recording.
        AssertionError: if it ends otherwise.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    said = err.getvalue().strip()
    if code == 0:
        return out.getvalue()
    lines = said.splitlines()
    is_usage = code == 2 and lines and lines[0].startswith("usage: ")
    if code in _CODES and (is_usage or len(lines) == 1 or _is_of_each(lines)):
        raise ConfigError(lines[-1])
    raise AssertionError(f"exit {code}: {said}")


def _is_of_each(lines):
    """Whether these are a line of each recording that could not be cloned, and their number."""
    of_several = re.match(_OF_SEVERAL, lines[-1]) if lines else None
    ours = all(line.startswith("tune-encoder: ") for line in lines)
    return of_several is not None and ours and len(lines) == int(of_several[1]) + 1
