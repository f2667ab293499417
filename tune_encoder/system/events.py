"""What long work tells a program that listens: events, by name, with their values.

Nobody listens unless the command line was asked to; then telling costs nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Listener = Callable[[str, Mapping[str, object]], None]
"""Called with the name of an event and its values, also from threads."""

_listeners: list[Listener] = []  # of the process, as its standard output is


def tell(event: str, **values: object) -> None:
    """Tell of an event, if anybody listens."""
    for listener in _listeners:
        listener(event, values)


def is_heard() -> bool:
    """Whether anybody listens; then nothing is drawn for people."""
    return bool(_listeners)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call the listener with every event while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
