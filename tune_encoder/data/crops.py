"""The crops of an epoch: how long they are, of which clips, in how many optimizer steps.

With `epoch_of: audio`, a clip gives as many crops as would cover it, so an epoch follows the
seconds of audio; if they do not fill `steps_per_epoch` batches, crops are drawn repeatedly. With
`epoch_of: clips` each clip gives one crop.

Shapes: N clips.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import TrainConfig

Lengths = NDArray[np.int64]
"""(N,) frames of each clip."""


def n_frames_of(n_samples: int, hop_length: int) -> int:
    """Return the number of frames that `log_mel` returns for a clip."""
    return 1 + n_samples // hop_length


def crop_frames(config: TrainConfig) -> int:
    """Return the number of frames of a crop of `config.crop_seconds`."""
    return n_frames_of(round(config.crop_seconds * config.sample_rate), config.hop_length)


def lengths_of(durations: Sequence[float], config: TrainConfig) -> Lengths:
    """Return the frames of clips whose durations are given in seconds."""
    samples = (round(seconds * config.sample_rate) for seconds in durations)
    return np.array([n_frames_of(n, config.hop_length) for n in samples], dtype=np.int64)


def crops_per_epoch(lengths: Lengths, config: TrainConfig) -> int:
    """Return the number of training crops in an epoch."""
    if config.epoch_of == "clips":
        return len(lengths)
    return max(int(_crop_counts(lengths, config).sum()), config.steps_per_epoch * config.batch_size)


def steps_per_epoch(lengths: Lengths, config: TrainConfig) -> int:
    """Return the number of optimizer steps in an epoch."""
    return -(-crops_per_epoch(lengths, config) // config.batch_size)


def clips_of_epoch(
    lengths: Lengths, config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the clip of each crop of an epoch, shuffled.

    Crops that are drawn repeatedly come in rounds, each of which has every clip.
    """
    if config.epoch_of == "clips":
        return rng.permutation(len(lengths))
    once = np.repeat(np.arange(len(lengths)), _crop_counts(lengths, config))
    count = crops_per_epoch(lengths, config)
    rounds = [rng.permutation(once) for _ in range(-(-count // len(once)))]
    return np.concatenate(rounds)[:count]


def _crop_counts(lengths: Lengths, config: TrainConfig) -> NDArray[np.int64]:
    """How many crops each clip gives, (N,); at least one."""
    return np.maximum(1, np.rint(lengths / crop_frames(config))).astype(np.int64)
