import errno
import os

import pytest

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.system.files import atomic_write
from tune_encoder.system.shortage import resumable, shortage


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room on the disk, or for more files (`df -i`)"),
        (errno.EDQUOT, "make room, or ask for a larger quota"),
        (errno.EMFILE, "allow more open files (`ulimit -n`)"),
        (errno.ENFILE, "allow more open files (`ulimit -n`)"),
        (errno.EROFS, "mount it writable"),
    ],
)
def test_what_a_machine_is_short_of_is_found_in_an_error_of_whoever_passes_it_on(number, remedy):
    error = OSError(number, os.strerror(number), "a/file")

    assert shortage(str(error)) == f"{error}; {remedy}"
    assert shortage(f"Traceback\n  File x\nOSError: {error}\n") == f"OSError: {error}; {remedy}"


@pytest.mark.parametrize("said", ["", "ValueError: 3", str(FileNotFoundError(2, "No such file"))])
def test_another_error_is_no_shortage(said):
    assert shortage(said) == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EACCES, "Permission denied", "a"), r"Permission denied: 'a'; then resume"),
        (RuntimeError("a: Too many open files"), r"allow more open files .*; then resume"),
        (StorageError("study.db: database or disk is full"), r"make room .*; then resume"),
    ],
)
def test_a_shortage_ends_a_block_with_how_to_resume(error, said):
    with pytest.raises(StorageError, match=said), resumable(lambda: "then resume"):
        raise error


@pytest.mark.parametrize(
    "error",
    [ConfigError("a setting"), StorageError("no room: No space left on device; resume with `x`")],
)
def test_an_error_that_is_no_shortage_or_says_it_already_stays_as_it_is(error):
    with pytest.raises(type(error)) as raised, resumable(lambda: "then resume"):
        raise error

    assert raised.value is error


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        atomic_write(tmp_path / "a", None)  # type: ignore[arg-type]

    assert list(tmp_path.iterdir()) == []
