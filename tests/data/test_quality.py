from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tune_encoder.data.audio_file import Recording, read_recording
from tune_encoder.data.quality import band_limit_hz, measure_quality, power_spectra

RATE = 44100


def tone(level_db, seconds=2.0, hz=440.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return (10 ** (level_db / 20) * np.sqrt(2) * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def measured(*channels):
    return measure_quality(Recording(Path("a.wav"), np.stack(channels, axis=1), RATE))


@pytest.mark.parametrize("level_db", [-40.0, -26.0, -6.0])
def test_the_level_of_a_tone_is_its_rms_and_pauses_do_not_count(level_db):
    quality = measured(np.concatenate([tone(level_db), np.zeros(RATE, np.float32)]))

    assert quality.level_dbfs == pytest.approx(level_db, abs=0.1)
    assert quality.silent == pytest.approx(1 / 3, abs=0.02)
    assert quality.seconds == 3.0
    assert quality.clipped == 0
    assert quality.sample_rate == RATE


def test_clipping_is_seen_in_one_channel_though_the_mean_of_both_is_not_clipped():
    clipped = np.clip(tone(-3 + 20 * np.log10(2)), -1, 1)

    quality = measured(clipped, tone(-30))

    # A sine is beyond half of its peak for two thirds of the time.
    assert quality.clipped == pytest.approx(2 / 3, abs=0.02)
    assert "66" in quality.describe() or "67" in quality.describe()
    assert quality.describe().endswith("kHz")


def test_a_tone_that_just_reaches_full_scale_is_not_clipped():
    loud = tone(-3.02, hz=1000.0)
    loud[1000] = 1.0

    assert "no clipping" in measured(loud).describe()


@pytest.mark.parametrize("limit_hz", [4000, 8000, 12000])
def test_the_band_ends_where_a_lower_sample_rate_ended_it(limit_hz):
    noise = np.random.default_rng(0).normal(scale=0.1, size=2 * limit_hz * 3)
    audio = soxr.resample(noise, 2 * limit_hz, RATE).astype(np.float32)

    assert band_limit_hz(power_spectra(audio), RATE) == pytest.approx(limit_hz, rel=0.05)


def test_the_line_has_every_number_with_its_unit():
    noise = np.random.default_rng(0).normal(scale=0.05, size=RATE * 2).astype(np.float32)

    assert measured(noise).describe() == "2.0 s, -26 dBFS, no clipping, 0% silent, up to 22.1 kHz"


# --- clipping of a file of floats ----------------------------------------------------------------


def of_floats(path, audio):
    soundfile.write(path, audio, RATE, subtype="FLOAT")
    return measure_quality(read_recording(path))


@pytest.mark.parametrize("level_db", [-10.0, 6.0, 40.0])
def test_a_file_of_floats_is_not_clipped_by_being_loud(tmp_path, level_db):
    loud = of_floats(tmp_path / "loud.wav", tone(level_db))

    assert loud.clipped == 0
    assert "no clipping" in loud.describe()


@pytest.mark.parametrize("scale", [0.5, 1.0, 8.0])
def test_a_file_of_floats_is_clipped_where_samples_in_a_row_equal_the_peak(tmp_path, scale):
    clipped = scale * np.clip(tone(-3 + 20 * np.log10(2)), -1, 1)

    assert of_floats(tmp_path / "cut.wav", clipped).clipped == pytest.approx(2 / 3, abs=0.02)


# --- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr_db", [0, 5, 15, 25])
def test_noise_is_measured_between_words(snr_db):
    rng = np.random.default_rng(0)
    time = np.arange(5 * RATE) / RATE
    words = rng.normal(size=time.size) * (np.sin(2 * np.pi * time) > -0.5)
    noise = rng.normal(size=time.size) * np.sqrt(np.square(words).mean()) * 10 ** (-snr_db / 20)

    quality = measured((0.05 * (words + noise)).astype(np.float32))

    assert quality.snr_db == pytest.approx(10 * np.log10(10 ** (snr_db / 10) + 1), abs=1)
    assert ("noisy" in quality.faults()) == (snr_db < 8)
