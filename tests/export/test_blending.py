"""Which predictions are blended, with made-up predictions of the real val voices."""

import dataclasses

import numpy as np

from tune_encoder.data.scores import Styles
from tune_encoder.export import choose
from tune_encoder.export.blending import _errors, _predictor, select_members
from tune_encoder.export.combining import ensemble_model
from tune_encoder.model.evaluate import voice_errors


def with_crops(choice, crop_seconds):
    """A choice as if it had been trained on crops of so many seconds."""
    settings = {**choice.trial.settings, "crop_seconds": crop_seconds}
    return dataclasses.replace(choice, trial=dataclasses.replace(choice.trial, settings=settings))


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


def test_a_blend_is_rated_with_the_windows_that_it_is_given(searched, packed):
    one, other = choose(searched, 2)
    candidates = [one, with_crops(other, 1.0), with_crops(one, 1.5)]

    rated = _errors({0: 0.5, 1: 0.5}, candidates, _predictor(candidates, packed), packed)

    model = ensemble_model("blend", candidates[:2], [0.5, 0.5])
    expected = voice_errors(model.predict(packed.val), packed.val, packed)[0]
    np.testing.assert_allclose(rated, expected, rtol=1e-5)
    wider = ensemble_model("blend", candidates[1:], [0.5, 0.5]).predict(packed.val)
    assert np.abs(voice_errors(wider, packed.val, packed)[0] - expected).max() > 1e-5
