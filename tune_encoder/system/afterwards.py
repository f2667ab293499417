"""What follows a search in this program, for a search that prepares it."""

from collections.abc import Iterator
from contextlib import contextmanager

_told: list[bool] = []  # of the process, which runs one search at a time


def export_follows() -> bool:
    """Whether an export may follow; of a line of Python, nobody knows the next one."""
    return not _told or _told[-1]


@contextmanager
def before_export(follows: bool) -> Iterator[None]:
    """Tell what runs in the block whether an export follows it."""
    _told.append(follows)
    try:
        yield
    finally:
        _told.pop()
