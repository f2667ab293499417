import json
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.conftest import no_more_files
from tests.fabricate import bare_state
from tune_encoder.errors import StorageError
from tune_encoder.system.manifest import MANIFEST
from tune_encoder.training import checkpoints
from tune_encoder.training.checkpoints import (
    CHECKPOINT_FORMAT,
    load_state,
    newest_valid_checkpoint,
    save_state,
    write_state,
)


def make_state(epoch=1):
    generator = torch.Generator().manual_seed(epoch)
    weights = {"weight": torch.randn(3, 4, generator=generator), "steps": torch.tensor(epoch)}
    history = [{"epoch": epoch, "val_loss": 0.5}]
    return {**bare_state(epoch), "model": weights, "history": history}


def assert_epoch(state, epoch):
    torch.testing.assert_close(state["model"], make_state(epoch)["model"], rtol=0, atol=0)
    assert state["history"] == make_state(epoch)["history"]


def saved(path, epoch=1):
    save_state(path, make_state(epoch))
    return path


def test_a_saved_state_loads_back_equal_and_leaves_no_other_files(tmp_path):
    path = saved(tmp_path / "deep" / "a.pt")

    assert_epoch(load_state(path), 1)
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.pt", MANIFEST]


def test_what_float16_can_hold_takes_half_the_space_and_loads_back_equal(tmp_path):
    rows = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0))
    sizes = {}
    for name, basis in (("whole", rows), ("half", rows.half().float())):
        state = {**make_state(), "model": {**make_state()["model"], "basis": basis}}
        save_state(tmp_path / name, state)
        torch.testing.assert_close(
            load_state(tmp_path / name)["model"], state["model"], rtol=0, atol=0
        )
        sizes[name] = (tmp_path / name).stat().st_size

    assert sizes["whole"] - sizes["half"] == pytest.approx(rows.numel() * 2, abs=100)


def test_the_file_holds_no_code(tmp_path):
    path = saved(tmp_path / "a.pt")

    state = torch.load(path, weights_only=True)  # noqa: TID251

    assert state["format"] == CHECKPOINT_FORMAT
    assert_epoch(state, 1)


def damaged_copies(content, count, rng):
    """Copies with one bit flipped, or cut short."""
    for i in range(count):
        if i % 4 == 0:
            yield content[: rng.randrange(len(content))]
        else:
            place = rng.randrange(len(content))
            flipped = bytes([content[place] ^ (1 << rng.randrange(8))])
            yield content[:place] + flipped + content[place + 1 :]


def test_no_flipped_bit_and_no_cut_end_is_believed(tmp_path):
    path = saved(tmp_path / "a.pt")

    for content in damaged_copies(path.read_bytes(), 200, random.Random(7)):
        path.write_bytes(content)
        with pytest.raises(StorageError, match=r"a\.pt: damaged, its SHA-256 is not the one in"):
            load_state(path)


def test_a_damaged_manifest_refuses_the_file_or_does_not_matter(tmp_path):
    path = saved(tmp_path / "a.pt")
    manifest = path.parent / MANIFEST

    for content in damaged_copies(manifest.read_bytes(), 200, random.Random(7)):
        manifest.write_bytes(content)
        found, state, problems = newest_valid_checkpoint([path])
        if found is None:
            assert len(problems) == 1
        else:
            assert_epoch(state, 1)


def test_a_missing_file_is_refused_by_its_path(tmp_path):
    with pytest.raises(StorageError, match=r"gone\.pt: cannot be read \(No such file"):
        load_state(tmp_path / "gone.pt")


def test_a_file_without_a_manifest_is_refused(tmp_path):
    path = saved(tmp_path / "a.pt")
    (tmp_path / MANIFEST).unlink()

    with pytest.raises(
        StorageError, match=r"a\.pt: not listed in manifest\.json.*use a file that is"
    ):
        load_state(path)


def test_a_file_that_the_manifest_does_not_list_is_refused(tmp_path):
    path = saved(tmp_path / "a.pt")
    stranger = path.rename(tmp_path / "b.pt")

    with pytest.raises(StorageError, match=r"b\.pt: not listed in manifest\.json"):
        load_state(stranger)


def test_a_newer_format_is_refused_with_both_numbers(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "CHECKPOINT_FORMAT", CHECKPOINT_FORMAT + 1)
        path = saved(tmp_path / "a.pt")

    newer = rf"a\.pt: written in format {CHECKPOINT_FORMAT + 1}.*up to {CHECKPOINT_FORMAT}; update"
    with pytest.raises(StorageError, match=newer):
        load_state(path)


def test_two_files_of_one_folder_do_not_disturb_each_other(tmp_path):
    best, last = saved(tmp_path / "best.pt", 1), saved(tmp_path / "last.pt", 2)
    saved(last, 3)

    assert_epoch(load_state(best), 1)
    assert_epoch(load_state(last), 3)


class Killed(BaseException):
    """What a test raises where a kill would strike."""


@contextmanager
def killed_at(step):
    """Die in the block at the so manieth write to disk, a sync or a rename."""
    countdown = [step]

    def dying(write):
        def call(*args):
            if countdown[0] == 0:
                raise Killed
            countdown[0] -= 1
            return write(*args)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(Path, "replace", dying(Path.replace))
        with pytest.raises(Killed):
            yield


BEFORE_LAST_RENAME = 4


@pytest.mark.parametrize("step", range(6))
def test_a_kill_at_any_write_leaves_the_old_or_the_new_state(tmp_path, step):
    path = saved(tmp_path / "a.pt", 1)

    with killed_at(step):
        saved(path, 2)

    assert_epoch(load_state(path), 2 if step == 5 else 1)
    assert_epoch(load_state(saved(path, 3)), 3)


@pytest.mark.parametrize("n_kills", [2, 3])
def test_a_file_outlives_repeated_kills_between_manifest_and_rename(tmp_path, n_kills):
    path = saved(tmp_path / "a.pt", 1)

    for epoch in range(2, 2 + n_kills):
        with killed_at(BEFORE_LAST_RENAME):
            saved(path, epoch)

    assert len(json.loads((tmp_path / MANIFEST).read_text())["files"]["a.pt"]["sha256"]) == 2
    assert_epoch(load_state(path), 1)


FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from tune_encoder.training.checkpoints import save_state

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    save_state(Path(sys.argv[1]), {"epoch": 2, "model": {"w": torch.zeros(2**20)}})
except OSError as error:
    print(error.strerror)
"""


def test_what_the_system_says_of_a_file_that_does_not_fit_is_heard(tmp_path):
    path = saved(tmp_path / "a.pt", 1)

    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True)

    assert done.stdout == "File too large\n", done.stderr
    assert_epoch(load_state(path), 1)


def test_a_signal_while_a_checkpoint_is_written_stays_what_it_is(tmp_path):
    state = {"epoch": 1, "model": [torch.zeros(2**18) for _ in range(40)]}

    def interrupt(number, frame):
        raise Killed

    def save_until_interrupted(delay_s):
        signal.setitimer(signal.ITIMER_REAL, delay_s)
        while True:
            file.seek(0)
            write_state(file, state)

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with (tmp_path / "a.pt").open("wb") as file:
            for tenth in range(1, 11):
                with pytest.raises(Killed):
                    save_until_interrupted(0.01 + tenth / 1000)
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_a_file_that_was_damaged_is_not_vouched_for_when_it_is_overwritten(tmp_path):
    path = saved(tmp_path / "a.pt", 1)
    path.write_bytes(b"damaged")

    with killed_at(BEFORE_LAST_RENAME):
        saved(path, 2)

    with pytest.raises(StorageError, match=r"a\.pt: damaged"):
        load_state(path)


def test_the_newest_checkpoint_that_verifies_is_found_and_damaged_ones_reported(tmp_path):
    paths = [saved(tmp_path / str(epoch) / "c.pt", epoch) for epoch in (3, 9, 10)]
    paths[2].write_bytes(paths[2].read_bytes()[:-1])

    path, state, problems = newest_valid_checkpoint(paths)

    assert path == paths[1]
    assert_epoch(state, 9)
    assert len(problems) == 1
    assert f"{paths[2]}: damaged" in problems[0]


def test_where_nothing_verifies_nothing_is_found(tmp_path):
    path = saved(tmp_path / "a.pt")
    path.write_bytes(b"")

    found, state, problems = newest_valid_checkpoint([path, tmp_path / "gone" / "c.pt"])

    assert (found, state) == (None, None)
    assert len(problems) == 2
    assert newest_valid_checkpoint([]) == (None, None, [])


def test_no_older_checkpoint_is_taken_for_one_that_too_many_open_files_hide(tmp_path):
    paths = [tmp_path / name / "checkpoint.pt" for name in ("old", "new")]
    for epoch, path in enumerate(paths, start=1):
        save_state(path, make_state(epoch))

    with pytest.raises(StorageError, match="Too many open files"), no_more_files():
        newest_valid_checkpoint(paths)
