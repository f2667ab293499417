"""Batches of fixed-length crops, in an order that depends on (seed, epoch) only.

All crops have the same length, so there is no padding: a clip shorter than the crop is repeated
until it fills the crop. With `crop_seconds_min` shorter parts are drawn, too, and repeated: an
encoder of few recordings then knows voices better in others, above all in short ones.

Shapes: B batch, M mel bands, T frames of a crop.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tune_encoder.config import TrainConfig
from tune_encoder.data.crops import clips_of_epoch, crop_frames, steps_per_epoch
from tune_encoder.data.pack import Pack

EVALUATION_BATCH_SIZE = 64  # windows; without gradients memory is no concern


class Batch(NamedTuple):
    """Crops and the styles of their voices."""

    features: Tensor
    """(B, M, T) float32"""
    ttl: Tensor
    """(B, 50, 256), or (B, K + 2) as in `training.reduced_styles`."""
    dp: Tensor
    """(B, 8, 16)"""

    def to(self, device: torch.device) -> "Batch":
        """Move the batch to a device."""
        return Batch(*(part.to(device, non_blocking=True) for part in self))


def training_batches(
    pack: Pack, config: TrainConfig, epoch: int, ttl: NDArray[np.floating] | None = None
) -> Iterator[Batch]:
    """Yield an epoch's random crops, shuffled, in batches whose sizes differ by at most 1.

    Args:
        pack: The clips.
        config: The settings of crops, batches and seed.
        epoch: From 1.
        ttl: (V, ...) what to give as `style_ttl` of the pack's unique styles; None: these.
    """
    ttl = pack.unique_styles.ttl if ttl is None else ttl
    rng = np.random.default_rng([config.seed, epoch])
    clip_ids = clips_of_epoch(pack.lengths, config, rng)
    positions = _positions(clip_ids, config, rng)
    sizes, n_frames = _sizes(len(clip_ids), config, rng), crop_frames(config)
    # Drawn only where there are copies, so that a run without them is what it always was.
    draws = rng.random(len(clip_ids)) if pack.has_copies else np.zeros(len(clip_ids))
    for chosen in np.array_split(np.arange(len(clip_ids)), steps_per_epoch(pack.lengths, config)):
        clips = [_version(pack, clip_ids[i], draws[i]) for i in chosen]
        parts = [crop(clip, positions[i], sizes[i]) for clip, i in zip(clips, chosen, strict=True)]
        crops = [crop(part, 0.0, n_frames) for part in parts]
        voices = pack.style_ids[clip_ids[chosen]]
        dp = torch.from_numpy(pack.unique_styles.dp[voices])
        # torch converts float16 much faster than numpy.
        yield Batch(to_features(crops), torch.from_numpy(ttl[voices]).float(), dp)


def _version(pack: Pack, i: int, draw: float) -> NDArray[np.float16]:
    """The clip or one of its copies, each as likely for a draw from 0 to 1."""
    versions = pack.versions(i)
    return versions[int(draw * len(versions))]


def _positions(
    clip_ids: NDArray[np.int64], config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw where each crop lies in its clip; with one crop a clip, in the order of the clips."""
    positions = rng.random(len(clip_ids))
    return positions[clip_ids] if config.epoch_of == "clips" else positions


def _sizes(count: int, config: TrainConfig, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw (crops,) how many frames of each crop are not repeated."""
    longest = crop_frames(config)
    if not config.crop_seconds_min:
        return np.full(count, longest)
    shortest = crop_frames(replace(config, crop_seconds=config.crop_seconds_min))
    return rng.integers(shortest, longest, size=count, endpoint=True)


def prefetch(batches: Iterator[Batch], count: int) -> Iterator[Batch]:
    """Yield the same batches in the same order, up to `count` of them prepared by a thread."""
    if count == 0:
        yield from batches
        return
    with ThreadPoolExecutor(1) as thread:  # one, to keep the order
        waiting = deque(thread.submit(next, batches, None) for _ in range(count))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, batches, None))
            yield batch


def crop(clip: NDArray[np.float16], position: float, n_frames: int) -> NDArray[np.float16]:
    """Crop (T, M) from a clip (F, M); position 0 is its start, 1 its end."""
    if len(clip) < n_frames:
        clip = np.tile(clip, (-(-n_frames // len(clip)), 1))
    start = int(position * (len(clip) - n_frames + 1))
    return clip[start : start + n_frames]


def to_features(crops: list[NDArray[np.float16]]) -> Tensor:
    """Stack crops (T, M) to (B, M, T) float32; in memory the mel bands stay last."""
    return torch.from_numpy(np.stack(crops)).to(torch.float32).transpose(1, 2)


def covering_windows(clip: NDArray[np.float16], n_frames: int) -> list[NDArray[np.float16]]:
    """Cut a clip (F, M) into the fewest evenly spaced windows (T, M) that cover it."""
    count = max(1, -(-len(clip) // n_frames))
    starts = np.linspace(0, max(0, len(clip) - n_frames), count).round().astype(int)
    return [crop(clip[start:], 0.0, n_frames) for start in starts]


def evaluation_windows(pack: Pack, n_frames: int) -> Iterator[tuple[Tensor, list[int]]]:
    """Yield windows of every clip in batches (B, M, T), with the index of each window's clip."""
    batch: list[NDArray[np.float16]] = []
    clip_ids_of_windows: list[int] = []
    for i in range(len(pack)):
        for window in covering_windows(pack.clip(i), n_frames):
            batch.append(window)
            clip_ids_of_windows.append(i)
            if len(batch) == EVALUATION_BATCH_SIZE:
                yield to_features(batch), clip_ids_of_windows
                batch, clip_ids_of_windows = [], []
    if batch:
        yield to_features(batch), clip_ids_of_windows
