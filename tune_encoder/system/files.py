"""Atomic writes: a file or folder is absent, old, or complete, whatever interrupts the write."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

from tune_encoder.errors import ConfigError, DataError, StorageError

Write = Callable[[BufferedWriter], object]

_CACHE = "TUNE_ENCODER_CACHE"
# The process ID and, where `tempfile` made the name, eight characters.
_LEFTOVER_NAME = re.compile(r"(\d+)\.(?:[a-z0-9_]{8}\.)?(?:partial|old)")


def partial_path(path: Path) -> Path:
    """Return the hidden temporary path beside `path`, which is written first."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file, fsync it, then rename it into place."""
    write_beside(path, lambda file: file.write(content)).replace(path)
    fsync_folder(path.parent)


def write_beside(path: Path, write: Write) -> Path:
    """Write and fsync a temporary file beside `path`; the caller renames it into place."""
    partial = partial_path(path)
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # on a full disk half a file takes room that others need
        partial.unlink(missing_ok=True)
        raise
    return partial


def fsync_folder(folder: Path) -> None:
    """Wait until renames in the folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_empty(folder: Path) -> None:
    """Raise a `ConfigError` if the folder exists and is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and is not empty; remove it or name another folder")


def check_regular(path: Path, what: str) -> None:
    """Check that a file can be read to its end, as a pipe, a device or a folder cannot.

    Args:
        path: The file; a link counts as what it leads to.
        what: What it should be, such as "a recording".

    Raises:
        DataError: if it is missing or of another kind.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the files in it, as with {path}/*")
    if path.exists():
        raise DataError(f"{path}: is a pipe or device, not a file; copy its content to a file")
    raise DataError(f"{path}: no such file; give the path of {what}")


def files_with_suffix(folder: Path, *suffixes: str) -> list[Path]:
    """Return the visible files of a folder whose suffix, in lower case, is one of these."""
    return sorted(
        path
        for path in folder.glob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def remove_leftovers(folder: Path) -> None:
    """Remove temporary folders that killed processes of this machine left beside `folder`."""
    for path in folder.resolve().parent.glob(f".{folder.name}.*"):
        left = _LEFTOVER_NAME.fullmatch(path.name.removeprefix(f".{folder.name}."))
        if left and not _is_running(int(left[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


@contextmanager
def atomic_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a hidden folder to fill; it is renamed to `folder` if the block succeeds.

    Args:
        folder: Absent or empty; with `replace` it may have content, which is replaced.
        replace: Whether a folder that is not empty may be replaced.

    Raises:
        StorageError: if the folder cannot be written.
    """
    partial = partial_path(folder.resolve())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)  # in a container, a killed run had the same PID
        partial.mkdir()
        yield partial
        _move_into_place(partial, folder, replace)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error}); {_other(folder)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move_into_place(partial: Path, folder: Path, replace: bool) -> None:
    old = partial.with_suffix(".old")
    if folder.exists() and (replace or not any(folder.iterdir())):
        folder.rename(old)  # Windows cannot rename onto a folder, not even an empty one
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def cache_dir() -> Path:
    """Return the cache of demo voices and packs: $TUNE_ENCODER_CACHE or ~/.cache/tune_encoder."""
    named = os.environ.get(_CACHE)
    return Path(named) if named else home_dir(_CACHE) / ".cache" / "tune_encoder"


def make_cache_folder(folder: Path) -> None:
    """Create a folder in the cache.

    Raises:
        StorageError: if that is impossible, naming the variable of another cache.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error}); {_other(folder)}") from error


def _other(folder: Path) -> str:
    """Say how to choose another folder than one that cannot be written."""
    try:
        is_cached = folder.absolute().is_relative_to(cache_dir().absolute())
    except StorageError:
        is_cached = False
    return f"set {_CACHE} to a folder that you can write" if is_cached else "name another folder"


def home_dir(instead: str) -> Path:
    """Return the user's home folder.

    Args:
        instead: The variable that names another place for what is wanted there.

    Raises:
        StorageError: if there is none, naming the variable.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise StorageError(f"you have no home folder; set HOME or {instead}") from error
