"""How often a process looks for garbage, and what it does with memory it has freed."""

import atexit
import ctypes
import gc
import sys

_GC_THRESHOLD = 50_000  # objects; Python's own number is less than one module of torch makes

# glibc's names and values in malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MMAP_THRESHOLD = 32 * 2**20  # bytes, as far as glibc's own adjustment goes
_TOP_PAD = 64 * 2**20  # bytes, one heap of a thread


def collect_garbage_rarely() -> None:
    """Spare a process that loads large modules a tenth of their time, and half a second at its end.

    Python looks through all that lives whenever so many objects are new, and again before it exits.
    """
    gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
    atexit.unregister(gc.freeze)  # once is enough, however often this is called
    atexit.register(gc.freeze)


def keep_freed_memory() -> None:
    """From now on keep the memory that this process frees, in pieces of up to 32 MiB, for itself.

    glibc would give back what a training step frees, and the system clear every page for the next:
    up to a tenth of a step on a CPU. What is free by now, as after an earlier trial, is given back.
    Other C libraries are left as they are.

    Source: the GNU C Library manual, Malloc Tunable Parameters.
    """
    if sys.platform == "linux" and hasattr(glibc := ctypes.CDLL(None), "malloc_trim"):
        glibc.malloc_trim(0)
        glibc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        glibc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        glibc.mallopt(_M_TOP_PAD, _TOP_PAD)
