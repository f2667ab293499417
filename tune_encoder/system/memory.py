"""Garbage collection and memory allocation of a process."""

import atexit
import ctypes
import gc
import sys

_GC_THRESHOLD = 50_000  # objects; Python's default is fewer than one module of torch creates

# glibc's names and values in malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MMAP_THRESHOLD = 32 * 2**20  # bytes, the limit of glibc's own adjustment
_TOP_PAD = 64 * 2**20  # bytes, the size of a thread's heap


def collect_garbage_rarely() -> None:
    """Collect garbage less often: imports take a tenth less time, and exit half a second less.

    Python scans all live objects whenever that many are new, and again before it exits.
    """
    gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
    atexit.unregister(gc.freeze)  # once is enough, however often this is called
    atexit.register(gc.freeze)


def keep_freed_memory() -> None:
    """Keep freed memory, in blocks of up to 32 MiB, in this process instead of returning it.

    glibc would return what a training step frees, and the kernel would zero every page for the next
    step: up to a tenth of a step on a CPU. Memory that is free now, such as after an earlier trial,
    is returned once. Other C libraries are left as they are.

    Source: the GNU C Library manual, Malloc Tunable Parameters.
    """
    if sys.platform == "linux" and hasattr(glibc := ctypes.CDLL(None), "malloc_trim"):
        glibc.malloc_trim(0)
        glibc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        glibc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        glibc.mallopt(_M_TOP_PAD, _TOP_PAD)
