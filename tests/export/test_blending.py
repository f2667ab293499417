"""Which predictions are blended, with made-up predictions of the real val voices."""

import numpy as np

from tune_encoder.data.scores import Styles
from tune_encoder.export.blending import select_members
from tune_encoder.model.evaluate import voice_errors


def shifted(packed, seed, size=0.01, away=1.0):
    """The true styles of val, and noise of the seed."""
    rng = np.random.default_rng(seed)
    truth = packed.val.styles
    ttl, dp = (
        (part + away * size * rng.standard_normal(part.shape)).astype(np.float32)
        for part in (truth.ttl, truth.dp)
    )
    return Styles(ttl, dp)


def test_errors_that_cancel_are_mixed_half_and_half(packed):
    one, other = shifted(packed, 1), shifted(packed, 1, away=-1.0)

    counts, errors = select_members([one, other], packed)

    assert counts[0] == counts[1]
    assert errors.max() < 1e-6


def test_a_worse_prediction_gets_the_smaller_share(packed):
    counts, errors = select_members([shifted(packed, 1), shifted(packed, 2, size=0.014)], packed)

    assert counts[0] > counts[1] > 0
    assert errors.mean() < voice_errors(shifted(packed, 1), packed.val, packed)[0].mean()


def test_what_does_not_help_is_left_out(packed):
    counts, _ = select_members([shifted(packed, 1), shifted(packed, 2, size=0.2)], packed)

    assert list(counts) == [0]
