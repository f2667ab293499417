"""A data set as the generator of Supertonic's training guide writes it."""

import numpy as np

from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE, VoiceStyle, unit_rows

GENERATOR_RATE = 44100
LIVELY_ROWS = 10  # of timbre, which differ between voices as those of presets do; others hardly do


def make_preset(seed, version=0):
    """A style whose lively rows are at cosine 0.55 from those of the other presets."""
    center, own = np.random.default_rng([version, 7]), np.random.default_rng([version, seed, 8])
    spread = np.where(np.arange(TTL_SHAPE[0]) < LIVELY_ROWS, 0.9, 0.2)[:, None]
    ttl = unit_rows(center.normal(size=TTL_SHAPE)) + spread * unit_rows(own.normal(size=TTL_SHAPE))
    dp = unit_rows(center.normal(size=(1, DP_SHAPE[1]))) + 0.02 * own.normal(size=DP_SHAPE)
    return VoiceStyle(unit_rows(ttl), unit_rows(dp))


def mixture(first, second, share=0.5):
    """A linear mixture, whose rows are shorter than 1."""
    return VoiceStyle(
        (share * first.ttl + (1 - share) * second.ttl).astype(np.float32),
        (share * first.dp + (1 - share) * second.dp).astype(np.float32),
    )


def perturbed(style, rng, std=0.1):
    return VoiceStyle(
        (style.ttl + std * rng.standard_normal(TTL_SHAPE)).astype(np.float32),
        (style.dp + std * rng.standard_normal(DP_SHAPE)).astype(np.float32),
    )


def noise_style(rng):
    return VoiceStyle(
        rng.standard_normal(TTL_SHAPE).astype(np.float32),
        rng.standard_normal(DP_SHAPE).astype(np.float32),
    )


def write_generated(path, style, seed=0, **changes):
    """A compressed clip at 44.1 kHz with its duration."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "audio": np.random.default_rng(seed).normal(scale=0.1, size=4410).astype(np.float32),
        "style_ttl": style.ttl[None],
        "style_dp": style.dp[None],
        "text": "Hello.",
        "lang": "en",
        "duration": 0.1,
        "sample_rate": GENERATOR_RATE,
        **changes,
    }
    np.savez_compressed(path, **fields)
    return path
