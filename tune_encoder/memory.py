"""How often a process looks for garbage, and what it does with memory it has freed."""

import atexit
import ctypes
import gc
import sys

_MADE = 50_000  # objects; Python's own number is less than one module of torch makes

# glibc's names and values in malloc.h
_M_TOP_PAD, _M_MMAP_THRESHOLD = -2, -3
_MMAP_THRESHOLD = 32 * 2**20  # bytes, as far as glibc's own adjustment goes
_TOP_PAD = 64 * 2**20  # bytes, one heap of a thread


def collect_seldom() -> None:
    """Spare a process that loads large modules a tenth of their time, and half a second at its end.

    Python looks through all that lives whenever so many objects are new, and again before it exits.
    """
    gc.set_threshold(_MADE, *gc.get_threshold()[1:])
    atexit.unregister(gc.freeze)  # once is enough, however often this is called
    atexit.register(gc.freeze)


def keep_freed() -> None:
    """Keep the memory that one training step frees for the next.

    glibc gives it back, and the system clears every page again: up to a tenth of a step on a CPU.
    Other C libraries are left as they are.

    Source: the GNU C Library manual, Malloc Tunable Parameters.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        mallopt(_M_TOP_PAD, _TOP_PAD)
