import numpy as np
import pytest
import torch

from tune_encoder.config import TrainConfig, augmentation_warnings
from tune_encoder.data.log_mel import mel_centers
from tune_encoder.training.augment import DB, STOP_BAND_DB, augment

B, M, T = 64, 80, 60
OFF = {
    "augment_prob": 1.0,
    "augment_gain_db": 0.0,
    "augment_bandlimit_hz": 0.0,
    "augment_noise_snr_min": 120.0,  # dB: below the last digit of a float32
    "augment_noise_snr_max": 120.0,
    "spec_augment_time_mask": 0,
    "spec_augment_freq_mask": 0,
}
BAND_MEANS = torch.linspace(100, 200, M)[:, None]  # far from any feature, each its own


def only(**changes):
    """All else off."""
    return TrainConfig(**{**OFF, **changes})


def make_features(n_frames=T):
    """Loud and soft clips with a falling spectrum, natural log of power."""
    rng = np.random.default_rng(5)
    level = rng.uniform(-8, 0, size=(B, 1, 1)) - np.linspace(0, 5, M)[:, None]
    return torch.tensor(level + rng.normal(size=(B, M, n_frames)), dtype=torch.float64)


def augmented(features, config, seed=0):
    torch.manual_seed(seed)
    return augment(features, config, BAND_MEANS.to(features.dtype))


def test_a_probability_of_zero_changes_nothing():
    features = make_features()

    torch.testing.assert_close(
        augmented(features, TrainConfig(augment_prob=0.0)), features, rtol=0, atol=0
    )


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_noise_has_the_requested_ratio_to_each_clip(snr_db):
    features = make_features()

    noisy = augmented(features, only(augment_noise_snr_min=snr_db, augment_noise_snr_max=snr_db))

    signal = features.exp().mean(dim=(1, 2))
    noise = (noisy.exp() - features.exp()).mean(dim=(1, 2))
    assert (noise > 0).all()
    torch.testing.assert_close(
        10 * torch.log10(signal / noise),
        torch.full((B,), snr_db, dtype=torch.float64),
        rtol=0,
        atol=0.5,
    )


def test_noise_ratios_spread_over_the_range_that_is_set():
    features = make_features()

    noisy = augmented(features, only(augment_noise_snr_min=10.0, augment_noise_snr_max=30.0))

    ratio = features.exp().mean(dim=(1, 2)) / (noisy.exp() - features.exp()).mean(dim=(1, 2))
    snr_db = 10 * torch.log10(ratio)
    assert 9.5 < snr_db.min() < 13
    assert 27 < snr_db.max() < 30.5


def test_a_gain_shifts_each_clip_as_a_whole_by_at_most_the_set_decibels():
    features = make_features()

    shift_db = (augmented(features, only(augment_gain_db=6.0)) - features) / DB

    torch.testing.assert_close(shift_db, shift_db[:, :1, :1].expand_as(shift_db), rtol=0, atol=1e-3)
    assert -6.001 < shift_db.min() < -4
    assert 4 < shift_db.max() < 6.001


def test_a_low_pass_lowers_only_bands_above_a_cut_off_from_the_set_range():
    features = make_features()
    centers = mel_centers(24000, M)

    change_db = (augmented(features, only(augment_bandlimit_hz=4000.0)) - features) / DB

    lowered = change_db < -STOP_BAND_DB / 2
    expected_db = -STOP_BAND_DB * lowered.to(torch.float64)
    torch.testing.assert_close(change_db, expected_db, rtol=0, atol=0.1)
    assert not lowered[:, centers <= 4000].any()
    assert (lowered[:, 1:] >= lowered[:, :-1]).all(), "a band above a lowered one is not lowered"
    share = lowered[:, centers > 4000].to(torch.float64).mean(dim=1)[:, 0]  # of bands, per clip
    assert share.min() < 0.1
    assert share.max() > 0.9


def test_a_low_pass_beyond_the_nyquist_frequency_is_left_out():
    features = make_features()

    unchanged = augmented(features, only(augment_bandlimit_hz=12000.0))

    torch.testing.assert_close(unchanged, features, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("time_mask", "freq_mask"), [(20, 0), (0, 10), (1, 0), (7, 5)])
def test_masks_write_the_band_means_over_one_stretch_up_to_the_set_width(time_mask, freq_mask):
    features = make_features().repeat(8, 1, 1)
    config = only(spec_augment_time_mask=time_mask, spec_augment_freq_mask=freq_mask)

    after = augmented(features, config)

    masked = after > 50
    expected = torch.where(masked, BAND_MEANS.to(torch.float64), features)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)
    frames, bands = masked.all(dim=1), masked.all(dim=2)
    assert torch.equal(masked, frames[:, None, :] | bands[:, :, None])
    for places, widest in ((frames, time_mask), (bands, freq_mask)):
        assert places.sum(dim=1).max() == widest
        assert places.sum(dim=1).min() == 0
        edges = places.to(torch.int8).diff(dim=1, prepend=torch.zeros(len(places), 1)).clamp(min=0)
        assert edges.sum(dim=1).max() <= 1, "more than one stretch"


def test_a_time_mask_leaves_half_of_a_short_crop():
    features = make_features(n_frames=10)

    masked = augmented(features, only(spec_augment_time_mask=1000)) > 50

    assert masked.all(dim=1).sum(dim=1).max() == 5


def test_a_single_frame_goes_through_every_augmentation():
    after = augmented(make_features(n_frames=1), TrainConfig(augment_prob=1.0))

    assert after.shape == (B, M, 1)
    assert after.isfinite().all()


def test_each_clip_is_augmented_with_the_set_probability():
    features = make_features().repeat(16, 1, 1)

    change_db = (augmented(features, only(augment_prob=0.25, augment_gain_db=6.0)) - features) / DB

    changed = change_db.abs().amax(dim=(1, 2)) > 0.05  # more than the noise can do
    assert changed.double().mean() == pytest.approx(0.25, abs=0.05)


def test_the_seed_of_torch_decides_everything():
    features = make_features()
    config = TrainConfig(augment_prob=0.5)

    first, again, other = (augmented(features, config, seed) for seed in (1, 1, 2))

    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("drawn", "semitones"), [(0.0, -6), (0.999999, 6)])
def test_a_pitch_shift_moves_a_tone_by_its_semitones(monkeypatch, drawn, semitones):
    config = only(augment_pitch_shift=6.0)
    centers = mel_centers(config.sample_rate, config.n_mels)
    features = torch.full((1, M, T), -10.0)
    features[:, 40] = 0.0
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, drawn))

    shifted = augment(features, config, torch.zeros(M, 1))

    tone_hz = centers[shifted[0, :, 5].argmax()]
    assert tone_hz == pytest.approx(float(centers[40]) * 2 ** (semitones / 12), rel=0.04)


def test_a_time_stretch_moves_an_event_and_keeps_its_band():
    config = only(augment_time_stretch=0.5)
    features = torch.full((B, M, T), -10.0)
    features[:, 30, 30:33] = 0.0

    stretched = augmented(features, config)

    frames = stretched[:, 30].argmax(dim=-1)
    assert (stretched.amax(dim=-1).argmax(dim=-1) == 30).all()
    assert frames.min() < 28 < 34 < frames.max()
    assert ((frames >= 20) & (frames <= 59)).all()


def test_tempo_and_pitch_stay_unless_asked_for():
    assert TrainConfig().augment_time_stretch == TrainConfig().augment_pitch_shift == 0
    assert augmentation_warnings(TrainConfig()) == []
    assert augmentation_warnings(TrainConfig(augment_pitch_shift=2.0)) == [
        "augment_pitch_shift is 2: it changes the pitch of a clip but not its label, so the "
        "encoder learns to ignore pitch"
    ]
