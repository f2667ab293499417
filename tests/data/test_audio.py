import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tune_encoder.data.audio import (
    downmix,
    load_voice,
    normalize_loudness,
    remove_dc,
    resample,
    trim_silence,
)
from tune_encoder.data.audio_file import read_recording
from tune_encoder.errors import DataError

RATE = 24000


def tone(frequency_hz=1000.0, seconds=2.0, sample_rate=RATE, amplitude=0.5):
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


def silence(seconds):
    return np.zeros(round(seconds * RATE), dtype=np.float32)


def level_db(audio):
    return 20 * np.log10(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def peak_hz(audio, sample_rate):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return spectrum.argmax() * sample_rate / len(audio)


def save(path, audio, sample_rate=RATE, subtype="FLOAT"):
    soundfile.write(path, audio, sample_rate, subtype=subtype)
    return path


def read_audio(path):
    recording = read_recording(path)
    return downmix(recording), recording.sample_rate


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "A.WAV"])
def test_every_supported_format_reads_back_as_the_same_tone(tmp_path, name):
    soundfile.write(tmp_path / name, tone(), RATE)

    audio, sample_rate = read_audio(tmp_path / name)

    assert (str(audio.dtype), audio.ndim, sample_rate) == ("float32", 1, RATE)
    assert peak_hz(audio, sample_rate) == pytest.approx(1000, abs=1)
    assert level_db(audio) == pytest.approx(level_db(tone()), abs=0.5)


def test_stereo_becomes_the_mean_of_its_channels(tmp_path):
    left, right = tone(500), tone(2000)
    path = save(tmp_path / "stereo.wav", np.stack([left, right], axis=1))

    np.testing.assert_allclose(read_audio(path)[0], (left + right) / 2, atol=1e-6)


def test_a_float_recording_beyond_full_scale_is_not_clipped(tmp_path):
    audio, _ = read_audio(save(tmp_path / "loud.wav", tone(amplitude=1.5)))

    assert np.abs(audio).max() == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("scale", [-1, -0.95])
def test_of_channels_that_cancel_the_loudest_is_taken(tmp_path, scale):
    path = save(tmp_path / "anti.wav", np.stack([tone(), scale * tone()], axis=1) + 0.1)

    audio, _ = read_audio(path)

    np.testing.assert_allclose(audio, tone() + 0.1, atol=1e-6)


@pytest.mark.parametrize("channels", [(1, 0, 0, 0), (0.5, -0.2), (1, -1, 1)])
def test_channels_that_do_not_cancel_are_mixed(tmp_path, channels):
    path = save(tmp_path / "mix.wav", np.stack([scale * tone() for scale in channels], axis=1))

    np.testing.assert_allclose(read_audio(path)[0], np.mean(channels) * tone(), atol=1e-6)


def bad_nan(path):
    save(path, np.array([0.1, np.nan, np.inf] * 9, dtype=np.float32))


def bad_hour(path):
    # Silence compresses to nothing; the header is refused before anything is decoded.
    soundfile.write(path, np.zeros(3601 * 4000, dtype=np.int16), 4000, format="FLAC")


BAD_RECORDINGS = [
    ("junk.wav", lambda p: p.write_bytes(b"junk"), r"junk\.wav: not readable.*export it again"),
    ("zero.flac", lambda p: p.write_bytes(b""), r"zero\.flac: not readable.*export it again"),
    ("bare.raw", lambda p: p.write_bytes(b"12"), r"bare\.raw: not readable.*export it again"),
    ("empty.wav", lambda p: save(p, silence(0)), r"empty\.wav: has no samples; record it again"),
    ("nan.wav", bad_nan, r"nan\.wav: 18 samples are NaN or infinite; export it again"),
    ("quiet.wav", lambda p: save(p, silence(2)), r"quiet\.wav: is silent.*record it again"),
    ("dc.wav", lambda p: save(p, silence(2) + 0.3, 44100), r"dc\.wav: is silent.*record it again"),
    ("slow.wav", lambda p: save(p, tone(), 100), r"slow\.wav: its sample rate is 100 Hz; .*4000"),
    ("long.flac", bad_hour, r"long\.flac: lasts 60 minutes; at most 60 are allowed, so cut it"),
    ("short.wav", lambda p: save(p, tone(seconds=0.5)), r"short\.wav: 0\.50 s.*at least 1 s"),
    ("absent.wav", lambda p: None, r"absent\.wav: no such file; give the path"),
    ("folder.wav", Path.mkdir, r"folder\.wav: is a folder; name the files in it, .*folder\.wav/\*"),
    ("pipe.wav", os.mkfifo, r"pipe\.wav: is a pipe or device, not a file; copy its content"),
]


@pytest.mark.parametrize(("name", "make", "message"), BAD_RECORDINGS, ids=lambda v: str(v)[:12])
def test_a_bad_recording_is_refused_with_its_name_and_a_remedy(tmp_path, name, make, message):
    make(tmp_path / name)

    with pytest.raises(DataError, match=message):
        load_voice(tmp_path / name, RATE)


@pytest.mark.parametrize("suffix", ["m4a", "aac", "mp4", "webm", "wma", "M4A"])
def test_a_format_we_cannot_read_is_refused_with_the_ffmpeg_line(tmp_path, suffix):
    path = tmp_path / f"my voice.{suffix}"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    line = f"convert it: ffmpeg -i '{path}' '{path.with_suffix('.wav')}'"

    with pytest.raises(DataError, match=re.escape(line)):
        read_audio(path)


# --- signal --------------------------------------------------------------------------------------


@pytest.mark.parametrize("source_rate", [8000, 16000, 44100, 48000])
def test_a_tone_keeps_its_pitch_level_and_length_through_resampling(source_rate):
    audio = resample(tone(sample_rate=source_rate), source_rate, RATE)

    assert audio.dtype == np.float32
    assert len(audio) == pytest.approx(2 * RATE, abs=2)
    assert peak_hz(audio, RATE) == pytest.approx(1000, abs=1)
    assert level_db(audio) == pytest.approx(level_db(tone()), abs=0.1)


def test_a_tone_above_the_new_nyquist_frequency_does_not_fold_back():
    folded = resample(tone(15000, sample_rate=44100), 44100, RATE)

    assert level_db(folded[2000:-2000]) < -90  # between its ends, where the tone is steady


def test_outer_silence_is_cut_to_80_ms_and_inner_silence_stays():
    speech = np.concatenate([tone(seconds=1.0), silence(0.5), tone(seconds=1.0)])
    recording = np.concatenate([silence(1.0), speech, silence(0.7)])

    trimmed = trim_silence(recording, RATE)

    assert len(trimmed) / RATE == pytest.approx(2.5 + 2 * 0.08, abs=0.02)
    assert not trimmed[: round(0.07 * RATE)].any()


@pytest.mark.parametrize(("relative_db", "kept"), [(-35, True), (-45, False)])
def test_sound_is_kept_down_to_40_db_below_the_loudest(relative_db, kept):
    faint = tone(seconds=0.5, amplitude=0.5 * 10 ** (relative_db / 20))
    recording = np.concatenate([faint, tone(seconds=1.0)])

    trimmed = trim_silence(recording, RATE)

    assert len(trimmed) / RATE == pytest.approx(1.5 if kept else 1.08, abs=0.02)


def test_a_recording_without_silence_is_not_trimmed():
    np.testing.assert_array_equal(trim_silence(tone(), RATE), tone())


@pytest.mark.parametrize("amplitude", [0.001, 0.1, 0.9])
def test_the_level_becomes_minus_26_dbfs_however_loud_the_recording(amplitude):
    assert level_db(normalize_loudness(tone(amplitude=amplitude), RATE)) == pytest.approx(
        -26, abs=0.01
    )


def test_pauses_do_not_count_for_the_level():
    recording = np.concatenate([tone(seconds=1.0), silence(3.0), tone(seconds=1.0)])

    normal = normalize_loudness(recording, RATE)

    assert level_db(normal[:RATE]) == pytest.approx(-26, abs=0.5)


def test_dc_goes_and_the_tone_stays():
    np.testing.assert_allclose(remove_dc(tone() + np.float32(0.2)), tone(), atol=1e-5)


# --- the whole path ------------------------------------------------------------------------------


def test_load_voice_resamples_trims_and_normalizes_at_once(tmp_path):
    time = np.arange(3 * 44100) / 44100
    sounding = (time > 0.5) & (time < 2.5)
    left = 0.1 + 0.4 * np.sin(2 * np.pi * 1000 * time) * sounding  # 0.1 is DC
    path = save(tmp_path / "a.wav", np.stack([left, 0.5 * left], axis=1), 44100)

    audio = load_voice(path, RATE)

    assert len(audio) / RATE == pytest.approx(2.16, abs=0.03)
    assert peak_hz(audio, RATE) == pytest.approx(1000, abs=1)
    assert level_db(audio[RATE // 2 : -RATE // 2]) == pytest.approx(-26, abs=0.5)
    assert abs(audio.mean()) < 1e-3


def test_a_recording_with_nothing_below_the_new_nyquist_frequency_is_silent(tmp_path):
    fade = np.hanning(2 * 48000).astype(np.float32)  # a sharp onset would reach below it
    path = save(tmp_path / "ultra.wav", tone(20000, sample_rate=48000) * fade, 48000)

    with pytest.raises(DataError, match=r"ultra\.wav: is silent.*record it again"):
        load_voice(path, 16000)
