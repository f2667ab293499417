"""The order of writes: none is made after one that failed."""

from collections.abc import Iterator
from contextlib import contextmanager

from tune_encoder.errors import StorageError


class WriteOrder:
    """Keeps a record from having a change without one that came before it."""

    def __init__(self) -> None:
        self._error = ""

    @contextmanager
    def next(self) -> Iterator[None]:
        """Enter the next write.

        Raises:
            StorageError: that of an earlier write, at once.
        """
        if self._error:
            raise StorageError(self._error)
        try:
            yield
        except StorageError as error:
            self._error = str(error)
            raise
