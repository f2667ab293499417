"""Long recordings are cut at pauses."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from tests.data.recordings import RATE, USUAL, folders, import_voices, samples_of, speak
from tests.fabricate import make_style
from tune_encoder.data.audio_file import PieceReader
from tune_encoder.data.pairing import Clip
from tune_encoder.data.pauses import cut_long_clips, cut_points, find_pieces
from tune_encoder.data.splitting import SplitRequest
from tune_encoder.data.voice_style import write_voice_style
from tune_encoder.errors import DataError

__all__ = ["folders"]  # a fixture

FORMATS = {
    "a.wav": {},
    "a.flac": {},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {"format": "MP3"},
}


def seconds_of(span):
    return span.start / span.sample_rate, span.stop / span.sample_rate


def long_clip(path, seconds=100.0, **how):
    speak(path, seconds, **how)
    return path


# --- where it is cut -----------------------------------------------------------------------------


def test_each_piece_begins_and_ends_in_a_pause_and_lasts_5_to_20_seconds(tmp_path):
    pauses = speak(tmp_path / "a.wav", 200.0)
    mono, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    soundfile.write(tmp_path / "a.wav", np.stack([mono, -mono], axis=1), RATE)

    bounds = [seconds_of(span) for span in find_pieces(tmp_path / "a.wav")]

    assert len(bounds) >= 10
    for (start, end), (following, _) in pairwise(bounds):
        assert end == following
        assert any(quiet < end < loud for quiet, loud in pauses), end
        assert 5 <= end - start <= 20
    assert bounds[0][0] == 0
    assert bounds[-1][1] == soundfile.info(tmp_path / "a.wav").duration


@pytest.mark.parametrize(("seconds", "is_cut"), [(59.9, False), (60.0, False), (60.1, True)])
def test_recordings_longer_than_a_minute_are_cut(tmp_path, seconds, is_cut):
    assert bool(find_pieces(long_clip(tmp_path / "a.wav", seconds))) == is_cut


@pytest.mark.parametrize("n_frames", [1001, 1249, 1250, 1251, 2300, 3001, 12345])
def test_without_a_pause_pieces_have_a_sensible_length_too(n_frames):
    edges = cut_points(np.ones(n_frames, np.float32))

    lengths = np.diff(edges) * 0.02
    assert (edges[0], edges[-1]) == (0, n_frames)
    assert lengths.min() >= 5
    assert lengths.max() <= 20


def test_a_long_silence_makes_no_piece(tmp_path):
    audio, _ = soundfile.read(long_clip(tmp_path / "a.wav"), dtype="float32")
    silence = 1e-4 * np.random.default_rng(0).standard_normal(60 * RATE).astype(np.float32)
    whole = np.concatenate([audio, silence, audio]) + 0.3  # an offset hides no silence
    soundfile.write(tmp_path / "b.wav", whole, RATE)

    bounds = [seconds_of(span) for span in find_pieces(tmp_path / "b.wav")]

    assert sum(end - start for start, end in bounds) == pytest.approx(200, abs=40)
    assert not [start for start, end in bounds if start > 101 and end < 159]
    assert {span.count for span in find_pieces(tmp_path / "b.wav")} == {len(bounds)}


# --- reading pieces ------------------------------------------------------------------------------


SLOW = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW if name == "a.opus" else []) for name in FORMATS]
)
def test_the_pieces_of_a_recording_are_what_reading_it_whole_gives(tmp_path, capfd, name):
    path, reader = tmp_path / name, PieceReader()
    if name.endswith(".opus") and "OPUS" not in soundfile.available_subtypes("OGG"):
        pytest.skip("this libsndfile has no Opus")
    speak(path, 70.0, rate=24000, **FORMATS[name])
    whole, rate = soundfile.read(path, dtype="float32", always_2d=True)

    spans = find_pieces(path)

    assert len(spans) > 3
    for span in spans:
        piece, expected = reader.read(path, span), whole[span.start : span.stop]
        np.testing.assert_allclose(piece.channels, expected, atol=1e-6, rtol=0)
        assert (piece.sample_rate, piece.is_truncated) == (rate, False)
    assert capfd.readouterr().err == ""  # the decoder of MP3 complains there if it is moved


def test_pieces_are_read_in_any_order_and_of_any_recording(tmp_path):
    reader = PieceReader()
    paths = [long_clip(tmp_path / f"{name}.wav", seed=seed) for seed, name in enumerate("ab")]
    whole = {path: soundfile.read(path, dtype="float32", always_2d=True)[0] for path in paths}
    found = [(path, span) for path in paths for span in find_pieces(path)]

    for path, span in [*reversed(found), *found[::3]]:
        piece = reader.read(path, span).channels
        np.testing.assert_array_equal(piece, whole[path][span.start : span.stop])


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_an_hour_is_never_in_memory(tmp_path):
    """At 8 kHz an hour is 115 MB of samples."""
    path = tmp_path / "hour.wav"
    phrase = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE, dtype=np.float32)
    phrase[: RATE // 2] *= 1e-3
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(1200):
            file.write(phrase)

    tracemalloc.start()
    spans, reader = find_pieces(path), PieceReader()
    for span in spans[::20]:
        reader.read(path, span)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert 180 <= len(spans) <= 720
    assert peak < 12e6
    assert spans[-1].stop == 3600 * RATE


def test_the_last_piece_of_a_truncated_recording_is_truncated(tmp_path):
    path = long_clip(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[: -20 * RATE])

    assert [span.is_truncated for span in find_pieces(path)][-2:] == [False, True]


def test_a_piece_that_is_not_finite_is_refused_by_its_place(tmp_path):
    audio, _ = soundfile.read(long_clip(tmp_path / "a.wav"), dtype="float32")
    audio[50 * RATE] = np.nan
    soundfile.write(tmp_path / "b.wav", audio, RATE, subtype="FLOAT")
    spans, reader = find_pieces(tmp_path / "b.wav"), PieceReader()

    (bad,) = [span for span in spans if span.start <= 50 * RATE < span.stop]
    place = r"b\.wav from 0:\d\d: 1 sample is NaN or infinite"
    with pytest.raises(DataError, match=place):
        reader.read(tmp_path / "b.wav", bad)
    assert reader.read(tmp_path / "b.wav", spans[-1]).channels.size


# --- clips ---------------------------------------------------------------------------------------


def test_the_clips_of_a_voice_are_numbered_through_and_a_piece_has_no_text(tmp_path):
    paths = [
        long_clip(tmp_path / "anna_1.wav", 5.0),
        long_clip(tmp_path / "anna_2.wav"),
        long_clip(tmp_path / "anna_3.wav", 5.0),
    ]
    clips = [Clip(path, "anna", 7, text="Hello.") for path in paths]

    cut = cut_long_clips([*clips, Clip(tmp_path / "none.wav", "ben", 5)])

    n = len(cut.clips) - 3
    assert [clip.number for clip in cut.clips] == [*range(n + 2), 0]
    assert [clip.text for clip in cut.clips] == ["Hello.", *[""] * n, "Hello.", ""]
    assert cut.describe() == (
        f"1 recording longer than 60 s was cut at pauses into {n} pieces: anna_2.wav"
    )
    assert cut_long_clips(clips[:1]).describe() == ""


@pytest.fixture
def long_recordings(folders):
    """A recording of 100 s of each of three voices."""
    for seed, voice in enumerate(("anna", "ben", "carl")):
        long_clip(folders[0] / f"{voice}.wav", seed=seed)
        write_voice_style(folders[1] / f"{voice}.json", make_style(seed), {})
    return folders


def imported(folders, tmp_path, request=USUAL):
    audio_dir, styles_dir = folders
    return import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, request)


def test_voices_of_a_long_recording_each_are_split_whole(long_recordings, tmp_path):
    report = imported(long_recordings, tmp_path)

    assert sorted(map(len, report.voices_of.values())) == [1, 1, 1]
    assert min(report.clips.values()) >= 5
    assert report.cut.startswith("3 recordings longer than 60 s were cut at pauses into ")
    durations = [
        sample.audio.size / RATE
        for samples in samples_of(tmp_path / "out").values()
        for sample in samples
    ]
    assert max(durations) <= 20
    assert sum(durations) == pytest.approx(300, abs=15)


@pytest.mark.parametrize("asks_for_test", [True, False])
def test_of_a_long_recording_split_by_time_the_last_pieces_are_held_out(
    long_recordings, tmp_path, asks_for_test
):
    request = SplitRequest(how="time", hold_out=() if asks_for_test else ["carl"])
    report = imported(long_recordings, tmp_path, request)

    anna = [
        (path.stem, split)
        for split in ("train", "val", "test")
        for path in (tmp_path / "out" / split).glob("anna_*.npz")
    ]
    order = [split for _, split in sorted(anna)]
    n_held_out = max(1, round(0.15 * len(order)))
    held_out = ["val", "test"] if asks_for_test else ["val"]
    expected = [split for split in held_out for _ in range(n_held_out)]
    assert order == ["train"] * (len(order) - len(expected)) + expected
    assert not [warning for warning in report.warnings if "uncut" in warning]


def test_a_long_silent_recording_is_refused_by_its_name(long_recordings, tmp_path):
    soundfile.write(long_recordings[0] / "ben.wav", np.zeros(90 * RATE), RATE)

    said = r"ben\.wav from 0:00: is silent, below -80 dBFS .*; 1 of 1\d files and pieces of files "
    with pytest.raises(DataError, match=said):
        imported(long_recordings, tmp_path)


def test_pieces_that_cannot_be_used_are_counted_among_pieces(long_recordings, tmp_path):
    path = long_recordings[0] / "ben.wav"
    audio, _ = soundfile.read(path, dtype="float32")
    audio[:: RATE // 2] = np.nan
    soundfile.write(path, audio, RATE, subtype="FLOAT")
    n_pieces = [len(find_pieces(each)) for each in sorted(long_recordings[0].glob("*.wav"))]

    said = f"; {n_pieces[1]} of {sum(n_pieces)} files and pieces of files cannot be used, also ben"
    with pytest.raises(DataError, match=said):
        imported(long_recordings, tmp_path)


def test_a_fault_is_said_of_the_piece_that_has_it(long_recordings, tmp_path):
    path = long_recordings[0] / "anna.wav"
    path.write_bytes(path.read_bytes()[: -20 * RATE])

    report = imported(long_recordings, tmp_path)

    (truncated,) = [fault for fault in report.faults if "truncated" in fault]
    assert truncated.startswith("1 recording is truncated: anna.wav from 1:")
