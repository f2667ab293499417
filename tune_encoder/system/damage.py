"""Reading of files that may be damaged, or made so that they pass the check of their hash."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tune_encoder.errors import TuneEncoderError

_REASON_LENGTH = 200  # characters of what a parser says


@contextmanager
def refuse_damage(refuse: Callable[[str], TuneEncoderError]) -> Iterator[None]:
    """Turn whatever the block raises on its file's content into one error.

    On made-up content parsers raise many unrelated types (EOFError, RecursionError, zlib.error,
    onnxruntime's own); whichever it is, the file cannot be used. Our own errors, and those of the
    system, such as a full disk, stay as they are.

    Args:
        refuse: Makes the error, given the reason.
    """
    try:
        yield
    except TuneEncoderError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise refuse(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """Return in one short line what a parser says."""
    words = " ".join(str(error).split())
    if isinstance(error, KeyError):
        words = f"{words} is missing"
    return words[:_REASON_LENGTH] or type(error).__name__


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: if it is not JSON, or nested deeper than the parser can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
