import dataclasses
import os
import shutil
import time
import tracemalloc

import numpy as np
import pytest

from tests.fabricate import make_sample
from tune_encoder.data import checking
from tune_encoder.data.checking import DataCheck, check_data, fingerprint, warning_messages
from tune_encoder.data.samples import write_sample
from tune_encoder.errors import DataError

RATE = 24000


@pytest.fixture
def folder(tmp_path):
    """Two clips to train on, one to validate; all of different voices."""
    for seed, name in enumerate(["train/a.npz", "train/b.npz", "val/c.npz"]):
        add(tmp_path, name, seed=seed, voice=f"v{seed}")
    return tmp_path


def add(folder, name, **fields):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    write_sample(path, make_sample(**{"n_samples": RATE // 2, **fields}))
    return path


def errors_of(folder):
    with pytest.raises(DataError, match=str(folder)) as caught:
        check_data(folder, RATE).raise_errors(folder)
    return str(caught.value)


def test_a_good_data_set_is_summed_up_without_a_problem(folder):
    report = check_data(folder, RATE)
    report.raise_errors(folder)

    assert report.problems == []
    assert [(s.name, s.clips, s.seconds) for s in report.splits] == [
        ("train", 2, 1.0),
        ("val", 1, 0.5),
        ("test", 0, 0.0),
    ]
    assert report.splits[0].voices == {"v0", "v1"}
    assert report.splits[0].sample_rates == {RATE: 2}
    assert len(report.splits[0].styles) == 2


def test_a_test_split_is_checked_where_there_is_one(folder):
    add(folder, "test/d.npz", seed=9).write_bytes(b"")

    assert "test/d.npz: not a readable npz" in errors_of(folder)


def test_an_absent_folder_is_refused_by_name(tmp_path):
    message = errors_of(tmp_path / "none")

    assert message == f"{tmp_path / 'none'}: no such folder; it must hold train/ and val/"


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_or_an_empty_split_is_refused_by_name(folder, split):
    for path in (folder / split).iterdir():
        path.unlink()
    message = f"{folder / split}: holds no npz file; put samples into it"
    assert errors_of(folder) == message

    (folder / split).rmdir()
    assert errors_of(folder) == f"{folder / split}: no such folder; put npz samples into it"


def test_all_bad_files_are_reported_at_once(folder):
    add(folder, "train/bad1.npz").write_bytes(b"no zip")
    add(folder, "val/bad2.npz", audio=np.full(9, np.nan, np.float32))

    message = errors_of(folder)

    assert "train/bad1.npz: not a readable npz file" in message
    assert "val/bad2.npz: audio has 9 NaN or infinite values" in message


def test_of_many_bad_files_the_first_are_named_and_the_others_counted(folder):
    for number in range(7):
        add(folder, f"train/bad{number}.npz").write_bytes(b"no zip")

    message = errors_of(folder)

    assert message.count("not a readable npz") == 5
    assert message.endswith(f"; and 2 more, see `tune-encoder data check {folder}`")
    assert len(check_data(folder, RATE).errors) == 7


def test_styles_shared_between_splits_are_counted_in_a_warning(folder):
    add(folder, "val/d.npz", seed=0)
    add(folder, "val/e.npz", seed=1)

    report = check_data(folder, RATE)

    (warning,) = warning_messages(report.problems)
    assert warning.startswith("2 styles are in both train and val: scores tell how well known")
    assert report.errors == []


def test_clips_without_a_sample_rate_are_counted_in_a_warning(folder):
    add(folder, "train/d.npz", seed=7, sample_rate=None)
    add(folder, "train/e.npz", seed=8, sample_rate=None)

    report = check_data(folder, 16000)

    assert warning_messages(report.problems) == [
        "2 clips of train have no sample_rate; 16000 Hz is assumed"
    ]
    assert report.splits[0].seconds == pytest.approx(1.0 + 2 * 12000 / 16000)


# --- fingerprint ---------------------------------------------------------------------------------


def moved(folder):
    folder.rename(folder.with_name("moved"))
    return folder.with_name("moved")


def touched(folder):
    os.utime(folder / "train" / "a.npz", (1, 1))
    return folder


def with_a_note(folder):
    (folder / "train" / "note.txt").write_text("note")
    return folder


@pytest.mark.parametrize("change", [moved, touched, with_a_note])
def test_the_fingerprint_does_not_depend_on_place_or_time(tmp_path, folder, change):
    (tmp_path / "set").mkdir()
    for split in ("train", "val"):
        shutil.move(folder / split, tmp_path / "set" / split)
    before = fingerprint(tmp_path / "set")

    assert fingerprint(change(tmp_path / "set")) == before


def other_content(folder):
    add(folder, "train/a.npz", seed=0, voice="v0", text="Other.")


def other_name(folder):
    (folder / "train" / "a.npz").rename(folder / "train" / "z.npz")


def other_split(folder):
    (folder / "train" / "b.npz").rename(folder / "val" / "b.npz")  # the order stays


def one_more(folder):
    add(folder, "test/d.npz", seed=9)


@pytest.mark.parametrize("change", [other_content, other_name, other_split, one_more])
def test_the_fingerprint_depends_on_what_is_in_the_files_and_where(folder, change):
    before = fingerprint(folder)
    change(folder)

    assert fingerprint(folder) != before


def test_who_stops_in_the_middle_does_not_wait_for_the_rest(folder):
    for seed in range(10, 60):
        add(folder, f"train/{seed}.npz", seed=seed)
    made = []

    def make(sample):
        time.sleep(0.02)
        made.append(sample)

    samples = DataCheck(folder, RATE).samples("testing", make)
    next(samples)
    del samples

    assert len(made) < 30


# --- what is in memory ---------------------------------------------------------------------------


def add_large(folder, name, n_bytes):
    """A compressed clip that claims this many bytes of audio."""
    sample = make_sample(n_samples=n_bytes // 4)
    fields = {"audio": np.zeros_like(sample.audio), "text": "", "lang": "", "sample_rate": RATE}
    styles = {"style_ttl": sample.style_ttl[None], "style_dp": sample.style_dp[None]}
    fields["audio"][0] = 1
    np.savez_compressed(folder / name, **fields, **styles)


@pytest.mark.parametrize("n_clips", [1, 8])
def test_large_clips_are_not_in_memory_together(folder, monkeypatch, n_clips):
    claimed = 8 * 2**20
    monkeypatch.setattr(checking, "MAX_BYTES_AHEAD", claimed)
    for number in range(n_clips):
        add_large(folder, f"train/large{number}.npz", claimed - 100_000)

    tracemalloc.start()
    report = check_data(folder, RATE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert report.splits[0].clips == 2 + n_clips
    assert peak < 2.5 * claimed


# --- clips that teach nothing --------------------------------------------------------------------


@pytest.mark.parametrize("parts", [("style_ttl", "style_dp"), ("style_ttl",), ("style_dp",)])
def test_clips_of_one_style_are_an_error(folder, parts):
    same = make_sample(0)
    for seed in range(4):
        styles = {part: getattr(same, part) for part in parts}
        write_sample(
            folder / "train" / f"{'ab'[seed % 2]}.npz",
            dataclasses.replace(make_sample(seed, n_samples=999), **styles),
        )

    assert errors_of(folder) == (
        f"{folder / 'train'}: 2 clips of a single {' and '.join(parts)}, which teaches nothing; "
        "add clips of other voices"
    )
