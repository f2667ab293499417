import numpy as np
import pytest

from tests.fabricate import make_style
from tune_encoder.data.scores import (
    MAX_KNOWN_VOICES,
    Styles,
    known_voices,
    mean_styles,
    score,
)
from tune_encoder.data.style_statistics import Statistics, style_statistics


def styles_of(seeds):
    made = [make_style(seed) for seed in seeds]
    return Styles(np.stack([style.ttl for style in made]), np.stack([style.dp for style in made]))


TRAIN, TARGET = styles_of(range(6)), styles_of(range(10, 14))
BANDS = np.zeros(8, dtype=np.float32)
STATISTICS = Statistics(
    mel_mean=BANDS,
    mel_std=BANDS + 1,
    **style_statistics(TRAIN.ttl, TRAIN.dp, np.ones(len(TRAIN.ttl), np.int64)),
)
MEAN = mean_styles(STATISTICS, 4)
TRAIN_LIKE = Styles(TRAIN.ttl[:4], TRAIN.dp[:4])
STORED = {
    "loss": 4.7594,
    "skill": -0.74264,
    "skill_ttl": -0.73121,
    "skill_dp": -0.75478,
    "loss_se": 0.054406,
    "skill_se": 0.036134,
    "centered_cosine": 0.13221,
    "retrieval": 0.25,
    "retrieval_chance": 0.25,
    "cosine": 0.91773,
    "spread": 0.98378,
    "ttl_mse": 0.00064923,
    "dp_mse": 0.0096345,
}


def between(share):
    """Predictions on the way from the mean voice (0) to the targets (1)."""
    return Styles(
        (MEAN.ttl + share * (TARGET.ttl - MEAN.ttl)).astype(np.float32),
        (MEAN.dp + share * (TARGET.dp - MEAN.dp)).astype(np.float32),
    )


@pytest.mark.parametrize(("share", "expected"), [(0, 0), (0.5, 0.75), (1, 1), (2, 0), (-1, -3)])
def test_skill_is_the_share_of_squared_error_that_the_mean_voice_leaves(share, expected):
    scores = score(between(share), TARGET, STATISTICS)

    for name in ("skill", "skill_ttl", "skill_dp"):
        assert scores[name] == pytest.approx(expected, abs=1e-5)


def test_skill_is_one_ratio_that_does_not_explode_where_one_style_lies_near_the_mean():
    near = MEAN.dp + 1e-3 * (TARGET.dp - MEAN.dp)
    target = Styles(TARGET.ttl, near.astype(np.float32))
    guess = Styles(between(0.5).ttl, TARGET.dp)

    scores = score(guess, target, STATISTICS)

    errors = [
        np.square(a - b).sum() / variance
        for a, b, variance in (
            (guess.ttl, target.ttl, 100 * STATISTICS.ttl_variance),  # 100 times as many elements
            (guess.dp, target.dp, STATISTICS.dp_variance),
            (MEAN.ttl, target.ttl, 100 * STATISTICS.ttl_variance),
            (MEAN.dp, target.dp, STATISTICS.dp_variance),
        )
    ]
    assert scores["skill"] == pytest.approx(1 - sum(errors[:2]) / sum(errors[2:]), rel=1e-4)
    assert scores["skill_dp"] < -1000 < -2 < scores["skill"]


def test_perfect_predictions_have_the_best_of_every_score():
    scores = score(TARGET, TARGET, STATISTICS)

    best = {"skill": 1, "centered_cosine": 1, "retrieval": 1, "cosine": 1, "loss": 0, "ttl_mse": 0}
    assert {name: scores[name] for name in best} == pytest.approx(best, abs=1e-5)


def test_the_mean_voice_has_a_loss_of_about_two_and_no_direction():
    scores = score(MEAN, TRAIN_LIKE, STATISTICS)

    assert scores["centered_cosine"] == 0
    ratio = scores["ttl_mse"] / STATISTICS.ttl_variance + scores["dp_mse"] / STATISTICS.dp_variance
    assert scores["loss"] == pytest.approx(ratio + 0.1 * (1 - scores["cosine"]), rel=1e-6)
    assert 1.5 < scores["loss"] < 2.5


def test_the_loss_of_a_search_weighs_both_errors_by_their_variance_and_adds_a_tenth_of_cosine():
    scores = score(between(0.5), TARGET, STATISTICS)

    half = between(0.5)
    ttl = np.square(half.ttl - TARGET.ttl).mean() / STATISTICS.ttl_variance
    dp = np.square(half.dp - TARGET.dp).mean() / STATISTICS.dp_variance
    assert scores["loss"] == pytest.approx(ttl + dp + 0.1 * (1 - scores["cosine"]), rel=1e-5)


def test_the_spread_is_that_of_predictions_over_that_of_targets():
    scores = score(between(0.3), TARGET, STATISTICS)

    assert scores["spread"] == pytest.approx(0.09, rel=1e-4)
    assert score(MEAN, TARGET, STATISTICS)["spread"] == pytest.approx(0, abs=1e-9)


def test_stored_scores_of_a_fixed_example_stay_as_they_are():
    scores = score(styles_of(range(20, 24)), TARGET, STATISTICS)

    assert scores == pytest.approx(STORED, rel=1e-3, abs=1e-5)


def test_the_centred_cosine_ignores_length_and_sees_direction():
    for share, expected in ((0.1, 1), (-3, -1)):
        scores = score(between(share), TARGET, STATISTICS)
        assert scores["centered_cosine"] == pytest.approx(expected, abs=1e-4)


def test_retrieval_is_the_share_of_clips_nearest_to_their_own_voice():
    swapped = Styles(TARGET.ttl[[1, 0, 2, 3]], TARGET.dp[[1, 0, 2, 3]])

    assert score(between(0.2), TARGET, STATISTICS)["retrieval"] == 1
    assert score(swapped, TARGET, STATISTICS)["retrieval"] == 0.5


def test_chance_is_one_over_the_different_styles():
    twice = Styles(TARGET.ttl[[0, 0, 1, 1]], TARGET.dp[[0, 0, 1, 1]])

    assert score(TARGET, TARGET, STATISTICS)["retrieval_chance"] == 1 / 4
    assert score(twice, twice, STATISTICS)["retrieval_chance"] == 1 / 2


def test_retrieval_searches_the_training_voices_too():
    known = known_voices(TRAIN, STATISTICS)
    lured = between(1)
    lured.ttl[0], lured.dp[0] = TRAIN.ttl[5], TRAIN.dp[5]

    assert score(lured, TARGET, STATISTICS, known)["retrieval"] == 0.75
    assert score(TARGET, TARGET, STATISTICS, known)["retrieval"] == 1
    assert score(TARGET, TARGET, STATISTICS, known)["retrieval_chance"] == 1 / 10


def test_the_mean_voice_finds_what_guessing_would_find():
    scores = score(MEAN, TARGET, STATISTICS, known_voices(TRAIN, STATISTICS))

    assert scores["retrieval"] == pytest.approx(scores["retrieval_chance"])


def test_a_voice_that_is_in_train_too_is_one_candidate_and_never_its_own_rival():
    known = known_voices(TRAIN, STATISTICS)

    scores = score(TRAIN_LIKE, TRAIN_LIKE, STATISTICS, known)

    assert scores["retrieval"] == 1
    assert scores["retrieval_chance"] == 1 / 6


def test_of_many_training_voices_some_that_are_evenly_spaced_are_searched():
    n = MAX_KNOWN_VOICES + 100
    many = Styles(np.repeat(TRAIN.ttl[:1], n, axis=0), np.zeros((n, 8, 16), np.float32))
    many.dp[:, 0, 0] = np.arange(n)

    found = known_voices(many, STATISTICS)

    numbers = [np.frombuffer(each[-512:], np.float32)[0] for each in found.identities]
    assert len(found.directions) == len(set(numbers)) == MAX_KNOWN_VOICES
    assert (numbers[0], numbers[-1]) == (0, n - 1)


# --- standard errors -----------------------------------------------------------------------------


def score_without(i, *styles):
    guess, target = (Styles(np.delete(s.ttl, i, 0), np.delete(s.dp, i, 0)) for s in styles)
    return score(guess, target, STATISTICS)


def test_standard_errors_are_those_of_leaving_out_each_voice():
    """The jackknife is another estimator of the same error, near it on many voices."""
    target = styles_of(range(100, 140))
    guess = Styles(
        (0.6 * target.ttl + 0.4 * STATISTICS.ttl_mean).astype(np.float32),
        (0.3 * target.dp + 0.7 * STATISTICS.dp_mean).astype(np.float32),
    )
    scores = score(guess, target, STATISTICS)

    for name in ("loss", "skill"):
        left_out = np.array([score_without(i, guess, target)[name] for i in range(40)])
        jackknife = np.sqrt(39 / 40 * np.square(left_out - left_out.mean()).sum())
        assert scores[f"{name}_se"] == pytest.approx(jackknife, rel=0.05)


def test_clips_of_one_voice_count_once_in_a_standard_error():
    guess, target = between(0.5), TARGET
    guess.ttl[0] += 0.05
    four = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    guesses, targets = (Styles(styles.ttl[four], styles.dp[four]) for styles in (guess, target))

    once, often = score(guess, target, STATISTICS), score(guesses, targets, STATISTICS)

    for name in ("loss_se", "skill_se"):
        assert once[name] > 0
        assert often[name] == pytest.approx(once[name], rel=1e-6)


def test_one_voice_has_no_standard_error():
    one = Styles(TARGET.ttl[[0, 0]], TARGET.dp[[0, 0]])

    assert not {"loss_se", "skill_se"} & score(one, one, STATISTICS).keys()


def test_another_clip_of_the_same_voice_counts_as_found():
    twice = Styles(TARGET.ttl[[0, 0, 1, 1]], TARGET.dp[[0, 0, 1, 1]])

    assert score(twice, twice, STATISTICS)["retrieval"] == 1


@pytest.mark.parametrize("n", [1, 4])
def test_every_score_is_finite_even_where_nothing_differs(n):
    target = Styles(MEAN.ttl[:n].copy(), MEAN.dp[:n].copy())

    for predicted in (target, Styles(TARGET.ttl[:n], TARGET.dp[:n])):
        scores = score(predicted, target, STATISTICS)
        assert all(np.isfinite(value) for value in scores.values())
