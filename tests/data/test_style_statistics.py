import numpy as np
import pytest

from tests.fabricate import make_style
from tune_encoder.data import style_statistics as style_statistics_module
from tune_encoder.data.style_statistics import (
    MAX_COMPONENTS,
    principal_components,
    style_statistics,
)


def centred_rows(n, width, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return rows - rows.mean(axis=0)


def once(rows):
    """Each row is there once."""
    return np.ones(len(rows), np.int64)


def styles(n):
    made = [make_style(seed) for seed in range(n)]
    return np.stack([style.ttl for style in made]), np.stack([style.dp for style in made])


@pytest.mark.parametrize(("n", "width"), [(6, 40), (40, 6), (7, 7)], ids=["wide", "tall", "square"])
def test_components_are_those_of_a_singular_value_decomposition(n, width):
    centred = centred_rows(n, width)
    _, lengths, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)

    components = principal_components(centred, once(centred))

    k = min(n - 1, width)
    assert components.shape == (k, width)
    deviations = np.linalg.norm(components, axis=1)
    np.testing.assert_allclose(deviations, lengths[:k] / np.sqrt(n - 1), rtol=1e-4)
    cosines = (components * directions[:k]).sum(axis=1) / deviations
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-4)


@pytest.mark.parametrize(("n", "width"), [(6, 40), (40, 6)], ids=["wide", "tall"])
def test_as_many_components_as_there_can_be_rebuild_the_data(n, width):
    centred = centred_rows(n, width)
    components = principal_components(centred, once(centred))

    weights = centred @ np.linalg.pinv(components)

    np.testing.assert_allclose(weights @ components, centred, atol=1e-4)
    np.testing.assert_allclose(weights.std(axis=0, ddof=1), 1, rtol=1e-3)


def test_no_more_components_are_kept_than_are_of_use():
    rows = centred_rows(600, 601)
    assert principal_components(rows, once(rows)).shape == (MAX_COMPONENTS, 601)


@pytest.mark.parametrize("n", [1, 2])
def test_the_fewest_voices_give_one_finite_component_and_a_variance_above_zero(n):
    ttl, dp = styles(n)
    fields = style_statistics(ttl, dp, once(ttl))

    assert np.shape(fields["ttl_basis"]) == (1, 12800)
    assert np.shape(fields["dp_basis"]) == (1, 128)
    assert np.shape(fields["joint_basis"]) == (1, 12928)
    assert all(np.isfinite(value).all() for value in fields.values())
    assert fields["ttl_variance"] > 0
    assert fields["dp_variance"] > 0


def test_equal_voices_give_finite_components():
    ttl, dp = styles(1)

    ttl, dp = np.repeat(ttl, 200, axis=0), np.repeat(dp, 200, axis=0)
    fields = style_statistics(ttl, dp, once(ttl))

    assert all(np.isfinite(value).all() for value in fields.values())


def test_means_and_variances_are_those_of_the_voices():
    ttl, dp = styles(5)

    fields = style_statistics(ttl, dp, once(ttl))

    np.testing.assert_allclose(fields["ttl_mean"], ttl.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(fields["dp_mean"], dp.mean(axis=0), atol=1e-6)
    assert fields["ttl_variance"] == pytest.approx(ttl.var(axis=0).mean(), rel=1e-5)
    assert fields["dp_variance"] == pytest.approx(dp.var(axis=0).mean(), rel=1e-5)


@pytest.mark.parametrize(("n", "width"), [(6, 40), (40, 6)], ids=["wide", "tall"])
def test_a_style_of_several_clips_counts_as_often(n, width):
    counts = np.arange(n) % 3 + 1
    rows = np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)
    rows -= np.average(rows, axis=0, weights=counts)

    components = principal_components(rows, counts)

    rows = np.repeat(rows, counts, axis=0)
    repeated = principal_components(rows, once(rows))[: len(components)]
    signs = np.sign((components * repeated).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(signs * components, repeated, atol=1e-4)


def test_statistics_of_different_styles_and_their_counts_are_those_of_all_clips():
    ttl, dp = styles(9)
    counts = np.arange(9) % 4 + 1

    fields = style_statistics(ttl, dp, counts)

    ttl, dp = (np.repeat(each, counts, axis=0) for each in (ttl, dp))
    expected = style_statistics(ttl, dp, once(ttl))
    assert {name: np.shape(value) for name, value in fields.items()} == {
        name: np.shape(value) for name, value in expected.items()
    }
    for name in ("ttl_mean", "dp_mean", "ttl_variance", "dp_variance"):
        np.testing.assert_allclose(fields[name], expected[name], rtol=1e-4, atol=1e-6)
    for name in ("ttl_basis", "dp_basis", "joint_basis"):
        found, wanted = (each[name].T @ each[name][:, :100] for each in (fields, expected))
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_of_many_styles_some_are_enough_for_the_components(monkeypatch):
    monkeypatch.setattr(style_statistics_module, "MAX_STYLES", 50)
    monkeypatch.setattr(style_statistics_module, "_BLOCK", 40)
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(5, 12800 + 128)).astype(np.float32)
    mixed = rng.normal(size=(150, 5)).astype(np.float32) @ basis + 3
    ttl, dp = mixed[:, :12800].reshape(-1, 50, 256), mixed[:, 12800:].reshape(-1, 8, 16)
    counts = np.arange(150) % 3 + 1

    fields = style_statistics(ttl, dp, counts)

    clips = np.repeat(mixed, counts, axis=0)
    np.testing.assert_allclose(fields["ttl_mean"].ravel(), clips[:, :12800].mean(axis=0), atol=1e-4)
    for name, part in (("ttl", clips[:, :12800]), ("dp", clips[:, 12800:])):
        assert fields[f"{name}_variance"] == pytest.approx(part.var(axis=0).mean(), rel=1e-4)
    assert not fields["ttl_basis"][50:].any()
    deviations = np.linalg.norm(fields["ttl_basis"], axis=1)
    rows = clips[:, :12800] - clips[:, :12800].mean(axis=0)
    variances = np.linalg.eigvalsh(rows @ rows.T)[:-6:-1] / (len(clips) - 1)
    np.testing.assert_allclose(deviations[:5], np.sqrt(variances), rtol=0.3)
    assert len(fields["joint_basis"]) == 5
    centred = (clips - clips.mean(axis=0)).T
    weights = np.linalg.lstsq(fields["joint_basis"].T, centred)[0]
    np.testing.assert_allclose(fields["joint_basis"].T @ weights, centred, atol=1e-2)


# --- both styles together ------------------------------------------------------------------------


def weighted(ttl, dp):
    """Both styles of each voice around the mean, each of total variance 1, (N, 12928)."""
    parts = [(each - each.mean(axis=0)).reshape(len(each), -1) for each in (ttl, dp)]
    return np.concatenate([p / np.sqrt(np.square(p).sum(axis=1).mean()) for p in parts], axis=1)


def test_joint_components_are_those_of_both_styles_where_each_counts_alike():
    ttl, dp = styles(7)
    fields = style_statistics(ttl, dp, once(ttl))
    _, _, directions = np.linalg.svd(weighted(ttl, dp), full_matrices=False)

    basis = fields["joint_basis"]

    assert basis.shape == (6, 12800 + 128)
    scales = [np.sqrt(fields[f"{name}_variance"] * n) for name, n in (("ttl", 12800), ("dp", 128))]
    units = np.concatenate([basis[:, :12800] / scales[0], basis[:, 12800:] / scales[1]], axis=1)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(np.abs((units * directions[:6]).sum(axis=1)), 1, atol=1e-4)


def test_all_joint_components_rebuild_both_styles():
    ttl, dp = styles(7)
    basis = style_statistics(ttl, dp, once(ttl))["joint_basis"]
    both = np.concatenate([(each - each.mean(axis=0)).reshape(7, -1) for each in (ttl, dp)], axis=1)

    coefficients = both @ np.linalg.pinv(basis)

    np.testing.assert_allclose(coefficients @ basis, both, atol=1e-4)


def test_joint_components_that_are_only_rounding_are_left_out():
    ttl, dp = styles(3)
    mixtures = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)

    ttl, dp = (np.tensordot(mixtures, each, 1) for each in (ttl, dp))
    basis = style_statistics(ttl, dp, once(ttl))

    assert basis["joint_basis"].shape == (3, 12928)
    assert basis["ttl_basis"].shape == (19, 12800)
