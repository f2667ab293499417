"""How often Python looks for garbage."""

import atexit
import gc

_MADE = 50_000  # objects; Python's own number is less than one module of torch makes


def collect_seldom() -> None:
    """Spare a process that loads large modules a tenth of their time, and half a second at its end.

    Python looks through all that lives whenever so many objects are new, and again before it exits.
    """
    gc.set_threshold(_MADE, *gc.get_threshold()[1:])
    atexit.unregister(gc.freeze)  # once is enough, however often this is called
    atexit.register(gc.freeze)
