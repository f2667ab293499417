import dataclasses

import librosa
import numpy as np
import pytest
import torch

from tune_encoder.config import TrainConfig
from tune_encoder.data.crops import n_frames_of
from tune_encoder.data.log_mel import log_mel, mel_centers, mel_filters
from tune_encoder.data.mel import POWER_FLOOR, TARGET_RMS, MelSettings, plain_log_mel
from tune_encoder.data.samples import find_samples, read_sample

CONFIG = TrainConfig()
SMALL = TrainConfig(sample_rate=16000, n_fft=400, hop_length=160, n_mels=40)
FLOOR = float(np.log(POWER_FLOOR))


def tone(hz, seconds=0.5, rate=CONFIG.sample_rate):
    return torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * rate)) / rate)


def noise(n_samples=12000, seed=0):
    return torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))


def clip(data_dir):
    return torch.from_numpy(read_sample(find_samples(data_dir / "val")[0]).audio)


def expected_log_mel(audio, config):
    """By the book: numpy's FFT, as librosa.stft compiles for half a minute, and its filters."""
    leveled = audio.numpy().astype(np.float64)
    leveled *= TARGET_RMS / np.sqrt(np.square(leveled).mean())
    padded = np.pad(leveled, config.n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop_length]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.n_fft) / config.n_fft)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    return np.log(np.maximum(librosa_filters(config) @ power.T, POWER_FLOOR))


def librosa_filters(config):
    return librosa.filters.mel(
        sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels, htk=False, norm="slaney"
    )


@pytest.mark.parametrize("config", [CONFIG, SMALL], ids=["default", "small"])
@pytest.mark.parametrize("kind", ["noise", "tone", "demo", "shorter_than_a_window"])
def test_features_are_the_log_of_mel_power_as_librosa_defines_it(data_dir, kind, config):
    audio = {
        "noise": noise(),
        "tone": tone(440),
        "demo": clip(data_dir),
        "shorter_than_a_window": noise(100),
    }[kind]

    features = log_mel(audio, config).numpy()

    expected = expected_log_mel(audio - audio.mean(), config)
    np.testing.assert_allclose(features, expected, atol=1e-3)
    assert features.dtype == np.float32


def test_what_was_trained_before_dc_was_removed_hears_as_before(data_dir):
    config = TrainConfig(remove_dc=False)
    audio = clip(data_dir) + 0.05

    features = log_mel(audio, config).numpy()

    np.testing.assert_allclose(features, expected_log_mel(audio, config), atol=1e-3)


@pytest.mark.parametrize("hz", [200, 1000, 5000])
def test_a_tone_peaks_in_its_own_band(hz):
    features = log_mel(tone(hz), CONFIG)

    loudest = int(features.mean(dim=1).argmax())
    nearest = int((mel_centers(CONFIG.sample_rate, CONFIG.n_mels) - hz).abs().argmin())
    assert loudest == nearest


@pytest.mark.parametrize("gain", [1e-3, 0.1, 30.0])
def test_the_level_of_a_recording_does_not_change_its_features(gain):
    torch.testing.assert_close(
        log_mel(gain * noise(), CONFIG), log_mel(noise(), CONFIG), atol=1e-3, rtol=0
    )


def test_silence_gives_the_floor():
    assert torch.equal(log_mel(torch.zeros(1000), CONFIG), torch.full((80, 4), FLOOR))


def test_a_hum_below_minus_120_dbfs_is_not_brought_up():
    assert log_mel(noise() * 1e-9, CONFIG).max() < log_mel(noise(), CONFIG).max() - 10


def test_one_sample_of_audio_gives_one_finite_frame():
    features = log_mel(torch.tensor([0.5]), CONFIG)

    assert features.shape == (80, 1)
    assert features.isfinite().all()


def test_clips_of_a_batch_do_not_touch_each_other():
    clips = torch.stack([noise(seed=1), 10 * noise(seed=2)])

    batch = log_mel(clips, CONFIG)

    for features, audio in zip(batch, clips, strict=True):
        torch.testing.assert_close(features, log_mel(audio, CONFIG), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("n_samples", "frames"), [(1, 1), (255, 1), (256, 2), (257, 2), (600, 3)])
def test_the_number_of_frames_is_known_beforehand(n_samples, frames):
    assert n_frames_of(n_samples, 256) == frames
    assert log_mel(noise(n_samples), CONFIG).shape == (80, frames)


@pytest.mark.parametrize("config", [CONFIG, SMALL], ids=["default", "small"])
def test_filters_and_their_centres_are_those_of_librosa(config):
    centers = librosa.mel_frequencies(config.n_mels + 2, fmax=config.sample_rate / 2)[1:-1]

    filters = mel_filters(config.sample_rate, config.n_fft, config.n_mels)

    np.testing.assert_allclose(filters, librosa_filters(config), atol=1e-7)
    found = mel_centers(config.sample_rate, config.n_mels)
    np.testing.assert_allclose(found, centers, rtol=1e-5)


@pytest.mark.parametrize("n_samples", [100, 5000, 24001])
@pytest.mark.parametrize("numbers", [(24000, 1024, 256, 80), (16000, 600, 150, 40)])
def test_without_torch_the_features_are_the_same(n_samples, numbers):
    audio = np.random.default_rng(0).normal(scale=0.1, size=n_samples).astype(np.float32)
    settings = MelSettings(*numbers)
    config = TrainConfig(**dataclasses.asdict(settings))

    plain = plain_log_mel(audio, settings)

    np.testing.assert_allclose(plain, log_mel(torch.from_numpy(audio), config).T, atol=1e-3)
