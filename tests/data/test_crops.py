"""Which clips an epoch crops, and how often; lengths are in frames, a crop has 9."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.data.test_batches import clips_in, pack_of
from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import training_batches
from tune_encoder.data.crops import clips_of_epoch, crops_per_epoch, steps_per_epoch
from tune_encoder.data.pack import JoinedPack

LENGTHS = np.array([3, 9, 18, 90, 13, 14])  # 1, 1, 2, 10, 1 and 2 crops
COUNTS = [1, 1, 2, 10, 1, 2]


def config(**changes):
    base: dict[str, Any] = {"crop_seconds": 0.1, "hop_length": 300, "batch_size": 4}
    return TrainConfig(**{**base, "steps_per_epoch": 1, **changes})


def crops_of_clips(lengths, settings, seed=0):
    clips = clips_of_epoch(lengths, settings, np.random.default_rng(seed))
    return np.bincount(clips, minlength=len(lengths)).tolist()


def test_a_clip_gives_as_many_crops_as_cover_it_and_at_least_one():
    assert crops_of_clips(LENGTHS, config()) == COUNTS
    assert crops_per_epoch(LENGTHS, config()) == 17
    assert steps_per_epoch(LENGTHS, config()) == 5


def test_an_epoch_of_clips_has_each_once_however_long():
    settings = config(epoch_of="clips", steps_per_epoch=100)

    assert crops_of_clips(LENGTHS, settings) == [1] * 6
    assert steps_per_epoch(LENGTHS, settings) == 2


@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("steps", [1, 7, 16])
def test_an_epoch_of_audio_has_at_least_its_steps(batch_size, steps):
    settings = config(batch_size=batch_size, steps_per_epoch=steps)

    assert steps_per_epoch(LENGTHS, settings) == max(steps, -(-17 // batch_size))
    assert sum(crops_of_clips(LENGTHS, settings)) == crops_per_epoch(LENGTHS, settings)


def test_repeated_crops_keep_the_shares_of_the_clips():
    counts = crops_of_clips(LENGTHS, config(steps_per_epoch=30))  # 120 crops, seven rounds and one

    for count, once in zip(counts, COUNTS, strict=True):
        assert 7 * once <= count <= 8 * once


def test_half_as_long_crops_are_twice_as_many_of_the_same_audio():
    short, long = (
        crops_per_epoch(np.array([900, 1800]), config(crop_seconds=s)) for s in (0.1, 0.2125)
    )

    assert (short, long) == (300, 150)


def test_batches_have_the_crops_of_an_epoch_with_their_styles():
    pack = pack_of(*LENGTHS)
    settings = config(steps_per_epoch=6)

    batches = list(training_batches(pack, settings, 1))

    assert len(batches) == steps_per_epoch(pack.lengths, settings) == 6
    assert {len(batch.features) for batch in batches} == {4}
    found = Counter(clips_in(batches))
    assert all(found[i] >= count for i, count in enumerate(COUNTS))
    for batch in batches:
        assert (batch.features[:, 0].amax(dim=1) <= batch.ttl[:, 0, 0].new_tensor(90)).all()


def test_crops_of_one_clip_lie_in_different_places():
    (batch,) = training_batches(pack_of(900), config(batch_size=100), 1)

    assert len({float(start) for start in batch.features[:, 0, 0]}) > 80


def test_the_crops_of_an_epoch_depend_on_seed_and_epoch_alone():
    pack = pack_of(*LENGTHS)

    def order(epoch, **changes):
        return clips_in(training_batches(pack, config(steps_per_epoch=9, **changes), epoch))

    assert order(1) == order(1, dropout=0.4)
    assert order(1) != order(2)
    assert order(1) != order(1, seed=1)


def test_joined_packs_have_the_lengths_of_their_parts():
    first, second = pack_of(5, 20), pack_of(30)
    fields = {field.name: getattr(first, field.name) for field in dataclasses.fields(first)}
    joined = JoinedPack(**fields, parts=(first, second))

    assert joined.lengths.tolist() == [5, 20, 30]
