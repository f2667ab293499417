from typing import Any

import numpy as np
import pytest
import torch

from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import (
    EVALUATION_BATCH_SIZE,
    covering_windows,
    crop,
    evaluation_windows,
    training_batches,
)
from tune_encoder.data.crops import crop_frames, steps_per_epoch
from tune_encoder.data.pack import Pack
from tune_encoder.data.scores import Styles


def clip_of(n_frames, first=1):
    """Frames (F, 2) that tell by their values which they are; none is zero."""
    return np.repeat(np.arange(first, first + n_frames), 2).reshape(-1, 2).astype(np.float16)


def pack_of(*lengths):
    starts = np.cumsum([0, *lengths])
    styles = np.arange(len(lengths), dtype=np.float32)  # each style names its clip
    return Pack(
        np.concatenate([clip_of(length) for length in lengths]),
        starts,
        Styles(
            np.broadcast_to(styles[:, None, None], (len(lengths), 50, 256)).copy(),
            np.broadcast_to(styles[:, None, None], (len(lengths), 8, 16)).copy(),
        ),
        np.arange(len(lengths)),
        [f"v{i}" for i in range(len(lengths))],
        named=np.ones(len(lengths), dtype=bool),
        bands=np.zeros((len(lengths), 4), dtype=np.float32),
        windows=np.zeros((0, 1), dtype=np.float32),
        window_clips=np.arange(0),
        copies=np.empty((0, 2), np.float16),
    )


def clips_in(batches):
    return [int(i) for batch in batches for i in batch.ttl[:, 0, 0]]


CLIPS: dict[str, Any] = {"crop_seconds": 0.1, "hop_length": 300, "epoch_of": "clips"}  # 9 frames
CONFIG = TrainConfig(**CLIPS, batch_size=4)
PACK = pack_of(*range(3, 26))


def test_a_crop_has_the_frames_of_its_seconds():
    assert crop_frames(CONFIG) == 9
    assert crop_frames(TrainConfig(crop_seconds=2.0)) == 1 + 48000 // 256


# --- training ------------------------------------------------------------------------------------


def test_an_epoch_has_every_clip_once_in_an_order_of_its_own():
    for epoch in range(3):
        assert sorted(clips_in(training_batches(PACK, CONFIG, epoch))) == list(range(23))
    assert clips_in(training_batches(PACK, CONFIG, 0)) != list(range(23))


def test_order_and_crops_depend_on_seed_and_epoch_alone():
    def features(epoch, **changes):
        config = TrainConfig(**{**CLIPS, **changes})
        return torch.cat([batch.features for batch in training_batches(PACK, config, epoch)])

    first = features(1)
    torch.rand(3)
    np.random.default_rng().random()

    assert torch.equal(features(1, batch_size=5), first)
    assert torch.equal(features(1, dropout=0.3), first)
    assert not torch.equal(features(2), first)
    assert not torch.equal(features(1, seed=1), first)


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4] * 5 + [3]), (22, [12, 11]), (99, [23])])
def test_sizes_of_batches_differ_by_at_most_one(batch_size, sizes):
    config = TrainConfig(batch_size=batch_size, epoch_of="clips")

    found = [len(batch.features) for batch in training_batches(PACK, config, 0)]

    assert found == sizes
    assert steps_per_epoch(PACK.lengths, config) == len(sizes)


def test_a_batch_joins_each_crop_with_the_style_of_its_clip():
    for batch in training_batches(PACK, CONFIG, 0):
        assert batch.features.shape == (len(batch.ttl), 2, 9)
        assert batch.features.dtype == torch.float32
        for features, ttl, dp in zip(*batch, strict=True):
            length = 3 + int(ttl[0, 0])
            assert 1 <= features.min() <= features.max() <= length
            assert ttl[0, 0] == dp[0, 0]


def test_crops_of_a_long_clip_reach_its_start_and_its_end():
    pack = pack_of(12)
    firsts = {
        int(batch.features[0, 0, 0])
        for epoch in range(60)
        for batch in training_batches(pack, CONFIG, epoch)
    }

    assert firsts == {1, 2, 3, 4}


def test_parts_of_all_lengths_are_drawn_and_repeated():
    config = TrainConfig(**CLIPS, crop_seconds_min=0.05)  # 5 of 9 frames
    pack = pack_of(30)

    crops = [
        features[0].tolist()
        for epoch in range(100)
        for batch in training_batches(pack, config, epoch)
        for features in batch.features
    ]

    assert {len(set(crop)) for crop in crops} == {5, 6, 7, 8, 9}
    assert all(crop == (crop[: len({*crop})] * 2)[:9] for crop in crops)


# --- crops and windows ---------------------------------------------------------------------------


@pytest.mark.parametrize(("position", "first"), [(0.0, 1), (0.5, 3), (0.999, 4)])
def test_a_crop_lies_where_its_position_says(position, first):
    np.testing.assert_array_equal(crop(clip_of(12), position, 9), clip_of(9, first))


@pytest.mark.parametrize("n_frames", [1, 2, 5, 8])
def test_a_clip_shorter_than_the_crop_is_repeated_without_a_zero(n_frames):
    cut = crop(clip_of(n_frames), 0.0, 9)

    assert cut.shape == (9, 2)
    np.testing.assert_array_equal(cut[:, 0], 1 + np.arange(9) % n_frames)
    assert crop(clip_of(n_frames), 0.99, 9).all()


@pytest.mark.parametrize("length", [*range(1, 30), 90, 91])
def test_windows_cover_a_clip_with_as_few_as_can_be(length):
    cut = covering_windows(clip_of(length), 9)

    assert all(window.shape == (9, 2) for window in cut)
    assert {int(frame) for window in cut for frame in window[:, 0]} == set(range(1, length + 1))
    assert len(cut) == max(1, -(-length // 9))


def test_windows_of_a_set_come_in_full_batches_with_the_clip_they_are_of():
    pack = pack_of(*[20] * 25)  # three windows each

    batches = list(evaluation_windows(pack, 9))

    assert [len(features) for features, _ in batches] == [
        EVALUATION_BATCH_SIZE,
        75 - EVALUATION_BATCH_SIZE,
    ]
    assert [i for _, owners in batches for i in owners] == [i for i in range(25) for _ in range(3)]
    assert batches[0][0].shape == (EVALUATION_BATCH_SIZE, 2, 9)
