import numpy as np
import pytest

from tune_encoder.tuning.record.gaussian_process import FIT_POINTS, GaussianProcess

OWNERS = np.arange(3)


def fitted(n, noise=0.0, seed=0):
    """A model of a function of the first of three coordinates, and its points."""
    random = np.random.default_rng(seed)
    points = random.random((n, 3))
    values = function(points) + noise * random.standard_normal(n)
    return GaussianProcess.fit(points, values, OWNERS, random), points


def function(points):
    return np.sin(6 * points[:, 0])


def test_it_predicts_a_function_between_its_points():
    model, _ = fitted(60)
    elsewhere = np.random.default_rng(1).random((50, 3))

    mean, deviation = model.predict(elsewhere)

    assert np.abs(mean - function(elsewhere)).mean() < 0.1
    assert (deviation > 0).all()


def test_it_knows_more_at_its_points_than_far_from_them():
    model, points = fitted(10)
    far = np.full((1, 3), 5.0)

    assert model.predict(points)[1].max() < model.predict(far)[1].min()


def test_a_setting_that_does_not_matter_gets_a_longer_length_scale():
    model, _ = fitted(80)

    first, *others = model.kernel.weights
    assert first > 3 * max(others)


def test_columns_of_one_parameter_share_a_length_scale():
    random = np.random.default_rng(0)
    points = random.random((30, 3))

    model = GaussianProcess.fit(points, function(points), np.array([0, 1, 1]), random)

    assert model.kernel.weights[1] == model.kernel.weights[2]


def test_what_is_pending_makes_it_sure_there_and_changes_no_prediction():
    model, _ = fitted(20)
    pending = np.full((1, 3), 0.5)
    mean, deviation = model.predict(pending)

    after, less = model.with_pending(pending).predict(pending)

    assert after == pytest.approx(mean, abs=1e-6)
    assert less < deviation
    assert model.with_pending(pending[:0]) is model


def test_of_many_observations_all_count_though_few_are_fitted_to():
    model, points = fitted(3 * FIT_POINTS, noise=0.1)

    assert len(model.points) == len(points)
    assert np.abs(model.predict(points)[0] - function(points)).mean() < 0.1
