import os
import stat

import pytest

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.system.files import atomic_folder, atomic_write, check_empty


def fill(folder, text="new"):
    folder.mkdir()
    (folder / "file").write_text(text)
    return folder


def break_off(folder, error):
    """Fail while a folder is being made."""
    with atomic_folder(folder, replace=True) as partial:
        (partial / "file").write_text("new")
        raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    atomic_write(tmp_path / "a", b"old")
    atomic_write(tmp_path / "a", b"new")

    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_a_file_is_whole_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    atomic_write(tmp_path / "a", b"old")
    seen = []

    def fsync(descriptor):
        status = os.fstat(descriptor)
        is_folder = stat.S_ISDIR(status.st_mode)
        seen.append((is_folder, status.st_size, (tmp_path / "a").read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write(tmp_path / "a", b"newer")

    written, renamed = seen
    assert written == (False, len(b"newer"), b"old")
    assert (renamed[0], renamed[2]) == (True, b"newer")


def test_a_folder_appears_only_once_it_is_whole(tmp_path):
    with atomic_folder(tmp_path / "deep" / "made") as partial:
        (partial / "file").write_text("new")
        assert not (tmp_path / "deep" / "made").exists()

    assert (tmp_path / "deep" / "made" / "file").read_text() == "new"
    assert names(tmp_path / "deep") == ["made"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "made").mkdir()
    with atomic_folder(tmp_path / "made") as partial:
        (partial / "file").write_text("new")

    assert names(tmp_path) == ["made"]
    assert names(tmp_path / "made") == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_whose_making_fails_leaves_nothing(tmp_path, error):
    with pytest.raises(error, match="broken"):
        break_off(tmp_path / "made", error("broken"))

    assert names(tmp_path) == []


def test_a_filled_folder_gives_way_if_asked_to(tmp_path):
    old = fill(tmp_path / "made", "old")
    (old / "other").write_text("old")
    with atomic_folder(old, replace=True) as partial:
        (partial / "file").write_text("new")

    assert names(tmp_path) == ["made"]
    assert names(old) == ["file"]
    assert (old / "file").read_text() == "new"


def test_a_filled_folder_stays_if_its_replacement_fails(tmp_path):
    old = fill(tmp_path / "made", "old")
    with pytest.raises(ValueError, match="broken"):
        break_off(old, ValueError("broken"))

    assert names(tmp_path) == ["made"]
    assert (old / "file").read_text() == "old"


def test_a_filled_folder_is_not_replaced_unasked(tmp_path):
    old = fill(tmp_path / "made", "old")
    with (
        pytest.raises(StorageError, match=r"made: cannot be written .*; name another folder"),
        atomic_folder(old),
    ):
        pass

    assert names(tmp_path) == ["made"]
    assert (old / "file").read_text() == "old"


def test_what_a_killed_process_of_the_same_number_left_is_cleared(tmp_path):
    with atomic_folder(tmp_path / "made") as partial:
        name = partial.name
    (tmp_path / "made").rmdir()
    fill(tmp_path / name, "stale")

    with atomic_folder(tmp_path / "made"):
        pass

    assert names(tmp_path) == ["made"]
    assert names(tmp_path / "made") == []


def test_a_folder_below_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match=r"made: cannot be written .*; name another folder"),
        atomic_folder(tmp_path / "file" / "made"),
    ):
        pass


def test_only_a_filled_folder_or_a_file_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    check_empty(tmp_path / "empty")
    check_empty(tmp_path / "absent")

    for path in (fill(tmp_path / "made"), tmp_path / "made" / "file"):
        with pytest.raises(ConfigError, match=rf"{path}: exists and is not empty; remove it or"):
            check_empty(path)
