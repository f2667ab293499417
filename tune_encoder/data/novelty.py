"""Novelty: how unlike the recordings that a model was trained on another one is.

An encoder gives a style for any sound. A recording is described by the mean, deviation and change
of each mel band over windows of two seconds, and compared with the windows of training: its
distance is that to the nearest of them. What is usual is measured on the training voices
themselves, each compared with the windows of all others.

Shapes: T audio samples, F frames, M mel bands, N frames of a window, W windows, S statistics.
"""

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.mel import MelSettings, band_centers_hz, plain_log_mel
from tune_encoder.errors import StorageError
from tune_encoder.system.damage import refuse_damage
from tune_encoder.system.manifest import load_verified, save_with_hash

NOVELTY = "novelty.npz"
WINDOW_S = 2.0
LOWEST_HZ = 120.0  # below is hum, and what a sound card's offset leaks
MAX_CLIPS, MAX_WINDOWS_PER_CLIP = 600, 5  # of training; more would hardly add anything nearer
USUAL_QUANTILE = 0.99  # of the training voices' distances
MARGIN = 2.0
"""How many times as far as usual a recording may be. Of 128 recordings of 64 demo voices that the
model never heard, in rooms and noise that it never heard, the furthest is at 0.74 of that, of ten
real voices, each beside the nine others, at 0.56; white noise is at 1.3, a sine at 3.6."""
MIN_USUAL = 0.01  # equal windows are 4e-4 apart, by rounding; windows of other voices about 1
MIN_DEVIATION = 0.05  # of a statistic, in log power; of a band that hardly changes

Array = NDArray[np.float32]


@dataclass(frozen=True)
class KnownSound:
    """What recordings of training sound like."""

    settings: MelSettings
    mean: Array
    """(S,) of the statistics of windows."""
    deviation: Array
    """(S,)"""
    windows: Array
    """(W, S) statistics of windows of training, standardised."""
    usual: float
    """The distance that hardly any voice of training has from the others."""

    def novelty(self, audio: Array) -> float:
        """Return how far (T,) audio is, in units of what is allowed: above 1 it is unlike all."""
        mel = plain_log_mel(audio, self.settings)
        rows = (_statistics(mel, self.settings) - self.mean) / self.deviation
        return float(np.median(_distances(rows, self.windows).min(axis=1)) / (MARGIN * self.usual))


def known_sound(
    clip: Callable[[int], NDArray[np.float16]],
    style_ids: NDArray[np.int64],
    settings: MelSettings,
) -> KnownSound | None:
    """Return what the clips of training sound like; None if all are of one style, or sound alike.

    Args:
        clip: Returns the features (F, M) of a clip, as `Pack.clip` does.
        style_ids: (N,) index of each clip's style.
        settings: Of the features.
    """
    count = min(len(style_ids), MAX_CLIPS)
    chosen = np.linspace(0, len(style_ids) - 1, count).round().astype(int)
    rows = [_statistics(clip(i).astype(np.float32), settings) for i in chosen.tolist()]
    windows, lengths = np.concatenate(rows), [len(each) for each in rows]
    mean = windows.mean(axis=0)
    deviation = np.maximum(windows.std(axis=0), MIN_DEVIATION)
    standard = (windows - mean) / deviation
    nearest = _nearest_of_others(standard, np.repeat(style_ids[chosen], lengths))
    if not np.isfinite(nearest).all():
        return None
    of_clips = [np.median(each) for each in np.split(nearest, np.cumsum(lengths)[:-1])]
    usual = float(np.quantile(of_clips, USUAL_QUANTILE))
    return KnownSound(settings, mean, deviation, standard, usual) if usual > MIN_USUAL else None


def _nearest_of_others(windows: Array, styles: NDArray[np.int64]) -> Array:
    """The distance (W,) of each window to the nearest one of another style."""
    distances = _distances(windows, windows)
    distances[styles[:, None] == styles] = np.inf
    return np.asarray(distances.min(axis=1))


def _statistics(mel: Array, settings: MelSettings) -> Array:
    """The statistics (W, S) of windows spread over a clip (F, M)."""
    n_frames = round(WINDOW_S * settings.sample_rate / settings.hop_length)
    lowest = int((band_centers_hz(settings.sample_rate, settings.n_mels) < LOWEST_HZ).sum())
    count = min(-(-len(mel) // n_frames), MAX_WINDOWS_PER_CLIP)
    starts = np.linspace(0, max(0, len(mel) - n_frames), count).round().astype(int)
    windows = (mel[start : start + n_frames, lowest:] for start in starts.tolist())
    return np.stack([_describe(window) for window in windows])


def _describe(window: Array) -> Array:
    changes = np.diff(window, axis=0, prepend=window[:1])
    parts = [window.mean(axis=0), window.std(axis=0), np.sqrt(np.square(changes).mean(axis=0))]
    return np.concatenate(parts).astype(np.float32)


def _distances(rows: Array, others: Array) -> Array:
    """Root mean square difference of each row to each of the others."""
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    means = np.maximum(squares - 2 * rows @ others.T, 0) / rows.shape[1]
    return np.asarray(np.sqrt(means), dtype=np.float32)


# --- in a model's folder -------------------------------------------------------------------------


def write_known_sound(folder: Path, sound: KnownSound, epoch: int) -> None:
    """Write `novelty.npz` into a model's folder, listed in its manifest."""
    content = io.BytesIO()
    np.savez(
        content,
        mean=sound.mean,
        deviation=sound.deviation,
        windows=sound.windows.astype(np.float16),
        usual=sound.usual,
        **asdict(sound.settings),
    )
    save_with_hash(folder / NOVELTY, content.getvalue(), epoch)


def read_known_sound(folder: Path) -> KnownSound | None:
    """Read a model's `novelty.npz`; None if it has none, as models before.

    Raises:
        StorageError: if it is damaged.
    """
    path = folder / NOVELTY
    if not path.exists():
        return None
    with refuse_damage(lambda why: StorageError(f"{path}: not readable ({why}); remove it")):
        with np.load(io.BytesIO(load_verified(path)), allow_pickle=False) as file:
            settings = MelSettings(*(int(file[each.name]) for each in fields(MelSettings)))
            mean, deviation, windows = (
                file[name].astype(np.float32) for name in ("mean", "deviation", "windows")
            )
            sound = KnownSound(settings, mean, deviation, windows, float(file["usual"]))
        _check_shapes(sound)
    return sound


def _check_shapes(sound: KnownSound) -> None:
    centers = band_centers_hz(sound.settings.sample_rate, sound.settings.n_mels)
    width = 3 * int((centers >= LOWEST_HZ).sum())
    shapes = (sound.mean.shape, sound.deviation.shape, sound.windows.shape[1:])
    if set(shapes) != {(width,)} or not len(sound.windows) or not sound.usual > 0:
        raise ValueError(f"shapes {shapes}; {width} statistics are needed")
