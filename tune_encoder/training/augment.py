"""Augmentation of log-mel features: effects of microphones, rooms and codecs.

Everything works on batches of features, where it is accurate enough: noise adds power to each
band, a gain shifts the logarithm, a low-pass filter lowers the bands above its cut-off. Tempo and
pitch are part of the style, so they change only on request.

Shapes: B batch, M mel bands, T frames.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tune_encoder.config import TrainConfig
from tune_encoder.data.log_mel import mel_centers

DB = math.log(10) / 10  # one decibel in the natural log of power
STOP_BAND_DB = 60.0  # attenuation above the cut-off of a low-pass filter


def augment(features: Tensor, config: TrainConfig, band_means: Tensor) -> Tensor:
    """Augment features (B, M, T), as if the recordings were worse.

    Each augmentation is applied to each clip with `augment_prob`, by torch's global generator.

    Args:
        features: (B, M, T) natural log of mel power.
        config: The ranges.
        band_means: (M, 1), the value of masks; any other fixed level would be a signal.
    """
    if config.augment_prob == 0:
        return features
    if config.augment_time_stretch or config.augment_pitch_shift:
        features = _warp(features, config)
    features = features + _gain(features, config) + _band_limit(features, config)
    _add_noise(features, config)
    _mask(features, config, band_means)
    return features


def _augmented_mask(features: Tensor, config: TrainConfig) -> Tensor:
    """Random mask of the clips to augment, (B, 1, 1)."""
    return torch.rand(len(features), 1, 1, device=features.device) < config.augment_prob


def _uniform(features: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(len(features), 1, 1, device=features.device)


def _warp(features: Tensor, config: TrainConfig) -> Tensor:
    """Change tempo and pitch: resample the features along stretched time and shifted bands."""
    B, M, T = features.shape
    stretch = 1 + _uniform(features, -config.augment_time_stretch, config.augment_time_stretch)
    semitones = _uniform(features, -config.augment_pitch_shift, config.augment_pitch_shift)
    positions = torch.arange(T, device=features.device) * stretch  # (B, 1, T) frames to read
    centers = mel_centers(config.sample_rate, config.n_mels).to(features.device)
    sources = centers[:, None] / 2 ** (semitones / 12)  # (B, M, 1) Hz to read
    bands = torch.searchsorted(centers, sources).clamp(1, M - 1)
    below, above = centers[bands - 1], centers[bands]
    bands = bands - 1 + ((sources - below) / (above - below)).clamp(0, 1)
    x = 2 * positions / max(1, T - 1) - 1
    y = 2 * bands / (M - 1) - 1
    grid = torch.stack([x.expand(B, M, T), y.expand(B, M, T)], dim=-1)
    warped = F.grid_sample(features[:, None], grid, padding_mode="reflection", align_corners=True)[
        :, 0
    ]
    return torch.where(_augmented_mask(features, config), warped, features)


def _gain(features: Tensor, config: TrainConfig) -> Tensor:
    """The log gain to add, (B, 1, 1)."""
    gain_db = _uniform(features, -config.augment_gain_db, config.augment_gain_db)
    return _augmented_mask(features, config) * gain_db * DB


def _band_limit(features: Tensor, config: TrainConfig) -> Tensor | float:
    """The log attenuation of a low-pass filter with a random cut-off, (B, M, 1)."""
    nyquist = config.sample_rate / 2
    if not 0 < config.augment_bandlimit_hz < nyquist:
        return 0.0
    cutoff = _uniform(features, config.augment_bandlimit_hz, nyquist)
    centers = mel_centers(config.sample_rate, config.n_mels).to(features.device)
    above = _augmented_mask(features, config) & (centers[:, None] > cutoff)
    return above * -STOP_BAND_DB * DB


def _add_noise(features: Tensor, config: TrainConfig) -> None:
    """Add stationary noise with a random spectrum and SNR per clip: powers add."""
    rows = features.transpose(1, 2)  # (B, T, M), the layout in memory
    (augmented,) = _to_device(rows, _augmented_indices(len(rows), config))
    # The powers are well within the range of float32, so the slower logaddexp is not needed.
    power = rows[augmented].exp_()
    snr_db = _uniform(power, config.augment_noise_snr_min, config.augment_noise_snr_max)
    color = torch.randn(len(power), 1, power.shape[2], device=rows.device)
    level = power.mean(dim=(1, 2), keepdim=True) * torch.exp(-snr_db * DB)
    rows[augmented] = power.add_(level * _unit_mean(color)).log_()


def _augmented_indices(n_clips: int, config: TrainConfig) -> Tensor:
    """Random indices of the clips to augment; on the CPU, to avoid a GPU synchronisation."""
    return (torch.rand(n_clips) < config.augment_prob).nonzero()[:, 0]


def _to_device(like: Tensor, *indices: Tensor) -> list[Tensor]:
    """Move indices to the device of the features, without synchronisation."""
    return [each.to(like.device, non_blocking=True) for each in indices]


def _unit_mean(color: Tensor) -> Tensor:
    return color.softmax(dim=2) * color.shape[2]


def _mask(features: Tensor, config: TrainConfig, band_means: Tensor) -> None:
    """One time mask and one frequency mask. Source: Park et al., SpecAugment, 2019, section 2."""
    _, M, T = features.shape
    augmented = _augmented_indices(len(features), config)
    max_width = min(config.spec_augment_time_mask, T // 2)
    clips, frames = _to_device(features, *_random_spans(augmented, T, max_width))
    features[clips, :, frames] = band_means[:, 0]
    max_width = min(config.spec_augment_freq_mask, M // 2)
    clips, bands = _to_device(features, *_random_spans(augmented, M, max_width))
    features[clips, bands] = band_means[bands]


def _random_spans(clips: Tensor, length: int, max_width: int) -> tuple[Tensor, Tensor]:
    """A random span of 0 to `max_width` positions per clip, as pairs of clip and position."""
    width = (torch.rand(len(clips), 1) * (max_width + 1)).floor()
    start = torch.rand(len(clips), 1) * (length - width)
    position = torch.arange(length)
    masked, positions = ((position >= start) & (position < start + width)).nonzero(as_tuple=True)
    return clips[masked], positions
