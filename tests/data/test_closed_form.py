"""Closed-form regression, compared with direct solutions of its equations."""

import numpy as np
import pytest

from tune_encoder.data.closed_form import KINDS, STRENGTHS, fit_closed_form
from tune_encoder.data.scores import Styles, score
from tune_encoder.data.style_statistics import Statistics, style_statistics

BANDS = np.ones(2, dtype=np.float32)


def statistics_of(styles):
    fields = style_statistics(styles.ttl, styles.dp, np.ones(len(styles.ttl), np.int64))
    return Statistics(mel_mean=BANDS, mel_std=BANDS, **fields)


def data(n=12, width=4, noise=0.05, windows=3):
    """Statistics of the windows of n voices, and the styles that depend linearly on them."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, width))
    ttl, dp = (0.1 * x @ rng.normal(size=(width, d)) for d in (12800, 128))
    styles = Styles(
        ttl.astype(np.float32).reshape(n, 50, 256), dp.astype(np.float32).reshape(n, 8, 16)
    )
    ids = np.repeat(np.arange(n), windows)
    rows = (x[ids] + noise * rng.normal(size=(len(ids), width))).astype(np.float32)
    return rows, styles, ids


def fit(rows, styles, ids, groups=None, *, kind="linear"):
    groups = ids if groups is None else groups
    return fit_closed_form(rows, styles, ids, groups, statistics_of(styles), kind=kind)


def direct(rows, targets, strength, new):
    """Ridge by its normal equations, with an intercept that is not penalised."""
    design, other = (np.hstack([np.ones((len(x), 1)), x]) for x in (rows, new))
    penalty = strength * np.diag([0.0] + [1.0] * rows.shape[1])
    return other @ np.linalg.solve(design.T @ design + penalty, design.T @ targets)


@pytest.mark.parametrize(("n", "noise"), [(12, 0.05), (6, 1.0)])
def test_it_is_the_direct_solution_of_least_error_on_voices_left_out_in_turn(n, noise):
    rows, styles, ids = data(n, noise=noise)
    z = ((rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)).astype(np.float64)
    targets = styles.ttl[ids].reshape(len(ids), -1).astype(np.float64)
    largest = np.linalg.norm(z, 2) ** 2
    new = z[:5] + 0.3

    def left_out(strength):
        """Mean prediction and truth of each voice, relative to the mean of the others."""
        means = []
        for voice in range(n):
            rest = ids != voice
            others = targets[rest].mean(axis=0)
            predicted = direct(z[rest], targets[rest], strength, z[~rest]).mean(axis=0)
            means.append((predicted - others, targets[~rest][0] - others))
        return [np.array(each) for each in zip(*means, strict=True)]

    def rate(strength):
        predicted, true = left_out(strength)
        factor = np.clip((predicted * true).sum() / np.square(predicted).sum(), 0, 1)
        return np.square(factor * predicted - true).sum(), strength, factor

    _, strength, factor = min(rate(fraction * largest) for fraction in STRENGTHS)
    mean = targets.mean(axis=0)
    expected = mean + factor * (direct(z, targets, strength, new) - mean)

    fitted = fit(rows, styles, ids)
    predicted = fitted.predict((new * fitted.scale + fitted.center).astype(np.float32))

    np.testing.assert_allclose(predicted.ttl.reshape(5, -1), expected, atol=2e-2 * targets.std())


def test_it_beats_the_mean_on_what_is_linear_and_falls_back_to_it_on_noise():
    rows, styles, ids = data(n=40)
    unrelated = np.random.default_rng(9).normal(size=rows.shape).astype(np.float32)
    truth = Styles(styles.ttl[ids], styles.dp[ids])

    good, bad = (fit(x, styles, ids).predict(x) for x in (rows, unrelated))

    assert score(good, truth, statistics_of(styles))["skill"] > 0.9
    assert abs(score(bad, truth, statistics_of(styles))["skill"]) < 0.1


def test_each_style_has_a_strength_of_its_own():
    rows, styles, ids = data(n=40)
    noise = np.random.default_rng(9).normal(size=styles.dp.shape).astype(np.float32)
    mixed = Styles(styles.ttl, noise)

    fitted = fit(rows, mixed, ids)
    scores = score(fitted.predict(rows), Styles(styles.ttl[ids], noise[ids]), statistics_of(mixed))

    assert scores["skill_ttl"] > 0.9
    assert abs(scores["skill_dp"]) < 0.1


def test_a_kernel_finds_what_is_not_linear_in_the_statistics():
    rows, linear, ids = data(n=60)
    bent = np.abs(rows[::3].sum(axis=1))[:, None, None]
    styles = Styles(linear.ttl * 0 + bent, linear.dp * 0 + bent)

    fitted = fit(rows, styles, ids, kind="kernel")

    assert len(fitted.landmarks)
    assert fitted.skill > fit(rows, styles, ids).skill + 0.1


def test_groups_of_known_voices_allow_what_groups_of_voices_forbid():
    rows, styles, ids = data(n=10)
    own = np.eye(10, dtype=np.float32)[ids] + 0.01 * rows[:, :1]  # tells the voice and no more

    parts = fit(own, styles, ids, groups=np.arange(len(ids)))

    assert parts.skill > 0.9
    assert fit(own, styles, ids).skill < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_one_voice_or_constant_statistics_give_the_mean_voice(kind):
    rows, styles, ids = data()
    one = Styles(styles.ttl[:1], styles.dp[:1])

    single = fit(rows[:3], one, ids[:3], kind=kind).predict(rows[:3])
    constant = fit(rows * 0 + 1, styles, ids, kind=kind).predict(rows)

    np.testing.assert_allclose(single.ttl[2], styles.ttl[0], atol=1e-5)
    np.testing.assert_allclose(constant.ttl[3], styles.ttl.mean(axis=0), atol=1e-4)
