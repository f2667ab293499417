import numpy as np
import pytest
import soundfile

from tune_encoder.data.codecs import CODECS, random_codec, through_codec
from tune_encoder.errors import DataError

RATE = 24000


def noise(n_samples=2 * RATE):
    return np.random.default_rng(0).normal(scale=0.1, size=n_samples).astype(np.float32)


def power_between(audio, low, high, rate=RATE):
    spectrum = np.square(np.abs(np.fft.rfft(audio)))
    frequencies = np.fft.rfftfreq(len(audio), 1 / rate)
    return spectrum[(frequencies >= low) & (frequencies < high)].sum() / len(audio)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("rate", [16000, 24000, 44100])
def test_a_codec_keeps_length_rate_and_level_and_changes_the_sound(name, rate):
    t = np.arange(2 * rate) / rate
    audio = (0.9 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)

    coded = through_codec(audio, rate, name)

    assert coded.shape == audio.shape
    assert coded.dtype == np.float32
    assert power_between(coded, 900, 1100, rate) == pytest.approx(
        power_between(audio, 900, 1100, rate), rel=0.2
    )
    assert np.abs(coded - audio).max() > 1e-3


def test_a_telephone_leaves_its_band_alone():
    audio = noise()

    coded = through_codec(audio, RATE, "telephone")

    below, above = (power_between(coded, *band) for band in ((0, 150), (4200, 12000)))
    within = power_between(coded, 500, 3000)
    assert within == pytest.approx(power_between(audio, 500, 3000), rel=0.1)
    assert below < 0.01 * power_between(audio, 0, 150)
    assert above < 0.001 * power_between(audio, 4200, 12000)


@pytest.mark.parametrize("name", ["mp3", "opus"])
def test_the_lowest_rate_changes_more_than_the_best(name):
    audio = noise()

    def difference(share):
        spectra = [
            np.log(power_between(each, low, low + 500) + 1e-9)
            for each in (audio, through_codec(audio, RATE, name, share))
            for low in range(0, 11000, 500)
        ]
        return np.abs(np.subtract(*np.split(np.array(spectra), 2))).mean()

    assert difference(1.0) > 1.5 * difference(0.0)


def test_equal_draws_give_equal_sound_and_others_other_codecs():
    def coded(seed):
        return random_codec(noise(), RATE, np.random.default_rng(seed)).tobytes()

    assert coded(4) == coded(4)
    assert len({coded(seed) for seed in range(16)}) > len(CODECS)


def test_a_codec_that_soundfile_lacks_is_told_with_the_remedy(monkeypatch):
    monkeypatch.delitem(soundfile._subtypes, "OPUS")

    with pytest.raises(
        DataError, match=r"opus: this soundfile cannot code it \(.*\); install soundfile 0\.13 or"
    ):
        through_codec(noise(), RATE, "opus")
