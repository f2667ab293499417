"""Demo voices: a synthetic data set, for demos and tests.

A latent vector of 10 standard normal numbers defines a voice. It sets how the voice sounds
(`data.synthesis`) and, through a fixed map, the style that an encoder has to predict.

Shapes: K latent dimensions.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import DEMO_CLIPS, DEMO_CLIPS_PER_VOICE
from tune_encoder.data.recording import record_elsewhere
from tune_encoder.data.samples import SPLITS, Sample, write_sample
from tune_encoder.data.synthesis import DEMO_SAMPLE_RATE, LATENT_SIZE, synthesize, voice_of
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE, VoiceStyle, unit_rows
from tune_encoder.errors import ConfigError
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.files import atomic_folder, cache_dir, check_empty

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

# --- the folder --------------------------------------------------------------------------------


def make_demo(
    folder: Path,
    *,
    voices: int,
    val_voices: int,
    test_voices: int,
    seed: int,
    clips_per_voice: int = DEMO_CLIPS_PER_VOICE,
) -> None:
    """Write train/, val/ and test/, which share no voice; `folder` is complete or absent.

    A voice of train has one clip, one of val and test has `clips_per_voice`. Several are recorded
    by `record_elsewhere`, so that the voice is rewarded and not the clip; a single one as those of
    train. A clip depends only on the seed, its split and its number, and on whether there are
    several, so a larger set begins with the clips of a smaller one.

    Raises:
        ConfigError: if `folder` is already in use, or a voice would have no clip.
    """
    if clips_per_voice < 1:
        raise ConfigError(f"clips_per_voice is {clips_per_voice}; it must be at least 1")
    check_empty(folder)
    counts = dict(zip(SPLITS, (voices, val_voices, test_voices), strict=True))
    with atomic_folder(folder) as partial:
        _write_splits(partial, counts, seed, clips_per_voice)


def demo_voices(clips_per_voice: int) -> dict[str, int]:
    """Return the default number of voices of each split, so that the number of clips is the same.

    Args:
        clips_per_voice: In val and test, at least 1.
    """
    return {
        split: max(1, clips // _clips_per_voice(split, clips_per_voice))
        for split, clips in DEMO_CLIPS.items()
    }


def demo_folder(clips_per_voice: int = DEMO_CLIPS_PER_VOICE) -> Path:
    """Return the folder of the default demo set with so many clips per voice."""
    names = (
        f"{voices}x{clips}" if (clips := _clips_per_voice(split, clips_per_voice)) > 1 else voices
        for split, voices in demo_voices(clips_per_voice).items()
    )
    return cache_dir() / "demo" / "-".join(map(str, names))


def cached_demo(clips_per_voice: int = DEMO_CLIPS_PER_VOICE) -> Path:
    """Return the default demo set, creating it if it is not in the cache."""
    counts, folder = demo_voices(clips_per_voice), demo_folder(clips_per_voice)
    if not folder.exists():
        make_demo(
            folder,
            voices=counts["train"],
            val_voices=counts["val"],
            test_voices=counts["test"],
            seed=0,
            clips_per_voice=clips_per_voice,
        )
    return folder


def restore_demo(folder: Path) -> None:
    """Make the demo set of the cache again that was in this folder; others are left alone.

    The cache may have been cleared since a search began, and the first searches had one clip per
    voice.
    """
    for clips_per_voice in (1, DEMO_CLIPS_PER_VOICE):
        if folder.resolve() == demo_folder(clips_per_voice).resolve():
            cached_demo(clips_per_voice)


def _clips_per_voice(split: str, clips_per_voice: int) -> int:
    return 1 if split == "train" else clips_per_voice


def _write_splits(folder: Path, voices: Mapping[str, int], seed: int, clips_per_voice: int) -> None:
    clips = {split: _clips_per_voice(split, clips_per_voice) for split in voices}
    total = sum(voices[split] * clips[split] for split in voices)
    with progress_bar(total=total, description="demo voices") as progress:
        for split, count in voices.items():
            (folder / split).mkdir(parents=True)
            for index, sample in enumerate(_samples(split, count, seed, clips[split])):
                write_sample(folder / split / f"sample_{index:04d}.npz", sample)
                progress.update()


def _samples(split: str, voices: int, seed: int, clips: int) -> Iterator[Sample]:
    for index in range(voices):
        key = (SPLITS.index(split), index)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
        latent = rng.standard_normal(LATENT_SIZE)
        style, voice = style_of(latent), voice_of(latent)
        for clip in range(clips):
            if clips == 1:
                audio = synthesize(voice, rng)
            else:
                seeds = np.random.SeedSequence(seed, spawn_key=(*key, clip))
                audio = record_elsewhere(voice, np.random.default_rng(seeds))
            yield Sample(
                audio=audio,
                style_ttl=style.ttl,
                style_dp=style.dp,
                text="demo",
                lang="en",
                sample_rate=DEMO_SAMPLE_RATE,
                voice=f"voice_{split}_{index:04d}",
            )


# --- the style ---------------------------------------------------------------------------------

_STYLE_SEED = 3  # of the map from latent vector to style, which all demo sets share
_MIXING_STD = 0.15  # how much each style component depends on the other latent numbers
_CURVATURE = 0.1  # fraction of a component's variance that is a product of two others
_TANH_STD = 0.628  # standard deviation of tanh of a standard normal number
# Fraction of the variance in each component: a few large ones, as in real presets, on what is
# easily heard (in the order of the fields of `Voice`; rhythm dominates style_dp).
_TTL_VARIANCE_RATIOS = (0.30, 0.20, 0.08, 0.11, 0.08, 0.03, 0.06, 0.05, 0.06, 0.03)
_DP_VARIANCE_RATIOS = (0.22, 0.04, 0.62, 0.02, 0.03, 0.03, 0.01, 0.01, 0.01, 0.01)
_TTL_STD, _DP_STD = 0.0168, 0.0238  # of an element between voices, before rows return to norm 1
_LIVELY_TTL_ROWS, _QUIET_GAIN = 30, 0.3  # the other rows of a preset barely vary
_DP_ROW_CHANGE = 0.1  # the 8 rows of a preset's style_dp are nearly equal


class _StyleMap(NamedTuple):
    """The mean style and the K components added to it."""

    mixing: Doubles  # (K, K) orthogonal, near identity: the components' axes in latent space
    ttl_mean: Doubles  # (50, 256)
    ttl_basis: Doubles  # (K, 50, 256)
    dp_mean: Doubles  # (8, 16)
    dp_basis: Doubles  # (K, 8, 16)


@functools.cache
def _style_map() -> _StyleMap:
    rng = np.random.default_rng(_STYLE_SEED)
    K = LATENT_SIZE
    mixing, _ = np.linalg.qr(np.eye(K) + _MIXING_STD * rng.standard_normal((K, K)))
    row_gain = np.where(rng.permutation(TTL_SHAPE[0]) < _LIVELY_TTL_ROWS, 1.0, _QUIET_GAIN)
    ttl_basis = rng.standard_normal((K, *TTL_SHAPE)) * row_gain[:, None]
    dp_basis = _nearly_equal_rows(rng.standard_normal((K, 1, DP_SHAPE[1])), rng)
    return _StyleMap(
        mixing=mixing,
        ttl_mean=unit_rows(rng.standard_normal(TTL_SHAPE)).astype(np.float64),
        ttl_basis=_scale_components(ttl_basis, _TTL_VARIANCE_RATIOS, _TTL_STD),
        dp_mean=_nearly_equal_rows(unit_rows(rng.standard_normal((1, DP_SHAPE[1]))), rng),
        dp_basis=_scale_components(dp_basis, _DP_VARIANCE_RATIOS, _DP_STD),
    )


def _nearly_equal_rows(row: NDArray[np.floating], rng: np.random.Generator) -> Doubles:
    """Repeat (..., 1, 16) to (..., 8, 16), with small differences between rows."""
    rows = np.repeat(row.astype(np.float64), DP_SHAPE[0], axis=-2)
    rows += _DP_ROW_CHANGE * np.abs(row).mean() * rng.standard_normal(rows.shape)
    return rows


def _scale_components(basis: Doubles, shares: tuple[float, ...], std: float) -> Doubles:
    """Orthogonalise (K, rows, width); component k gives an element variance shares[k] std^2."""
    flat, _ = np.linalg.qr(basis.reshape(len(basis), -1).T)
    scale = std * np.sqrt(np.array(shares) * len(flat))
    return np.asarray((flat * scale).T.reshape(basis.shape))


def style_of(latent: Doubles) -> VoiceStyle:
    """Return the style of a latent vector (10,): smooth, nonlinear, the same in every demo set."""
    style_map = _style_map()
    mixed = latent @ style_map.mixing
    squashed = np.tanh(mixed) / _TANH_STD
    product = np.roll(mixed, 1) * np.roll(mixed, 2)
    components = np.sqrt(1 - _CURVATURE) * squashed + np.sqrt(_CURVATURE) * product
    ttl = style_map.ttl_mean + np.tensordot(components, style_map.ttl_basis, axes=1)
    dp = style_map.dp_mean + np.tensordot(components, style_map.dp_basis, axes=1)
    return VoiceStyle(unit_rows(ttl.astype(np.float32)), unit_rows(dp.astype(np.float32)))
