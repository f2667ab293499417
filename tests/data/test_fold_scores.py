import numpy as np
import pytest

from tune_encoder.data.fold_scores import (
    FoldScale,
    baselines_over_folds,
    fold_scales,
    interval_95,
    mean_over_folds,
)
from tune_encoder.data.folds import make_folds
from tune_encoder.data.scores import mean_styles, score


def fold(ttl, dp, loss=1.0):
    return {"loss": loss, "ttl_mse": ttl, "dp_mse": dp, "skill": 9.0, "skill_ttl": 9.0,
            "skill_dp": 9.0, "skill_se": 9.0, "retrieval": ttl}  # fmt: skip


def scale(ttl, dp, weights=(1.0, 1.0)):
    return FoldScale(np.array(weights), np.array((ttl, dp)))


def test_a_score_is_the_mean_over_folds_and_a_skill_the_ratio_of_sums():
    models, scales = [fold(1.0, 2.0), fold(3.0, 1.0)], [scale(2.0, 4.0), scale(6.0, 2.0)]

    found = mean_over_folds(models, scales)

    assert found["retrieval"] == 2.0
    assert (found["skill"], found["skill_ttl"], found["skill_dp"]) == (0.5, 0.5, 0.5)
    assert found["skill_se"] == pytest.approx(0)  # every fold has the same skill


def test_both_styles_count_by_their_variance_in_training():
    scales = [scale(2.0, 4.0, weights=(1.0, 0.25)), scale(2.0, 4.0, weights=(1.0, 0.5))]

    found = mean_over_folds([fold(1.0, 4.0), fold(1.0, 4.0)], scales)

    assert (found["skill_ttl"], found["skill_dp"]) == (0.5, 0.0)
    assert found["skill"] == pytest.approx(1 - (2.0 + 3.0) / (3.0 + 4.0))


def test_a_voice_near_the_mean_voice_does_not_decide_the_skill():
    models = [fold(1.0, 1.0), fold(1.0, 1.0), fold(1.0, 0.27)]
    scales = [scale(4.0, 4.0), scale(4.0, 4.0), scale(4.0, 0.01)]  # alone: 1 - 27 = -26

    found = mean_over_folds(models, scales)

    assert found["skill_dp"] == pytest.approx(1 - 2.27 / 8.01)


def test_standard_errors_are_those_of_the_mean_over_folds():
    rng = np.random.default_rng(0)
    skills, losses = rng.normal(0.3, 0.1, 12), rng.normal(1, 0.2, 12)
    models = [fold(1 - s, 1 - s, loss) for s, loss in zip(skills, losses, strict=True)]

    found = mean_over_folds(models, [scale(1.0, 1.0)] * 12)

    assert found["skill"] == pytest.approx(skills.mean())
    for name in ("skill_se", "skill_ttl_se", "skill_dp_se"):
        assert found[name] == pytest.approx(skills.std(ddof=1) / 12**0.5)
    assert found["loss_se"] == pytest.approx(losses.std(ddof=1) / 12**0.5)


def test_the_error_of_a_ratio_is_near_that_of_leaving_each_fold_out():
    rng = np.random.default_rng(1)
    spread = rng.uniform(0.5, 1.5, 30)
    error = spread * rng.uniform(0.5, 0.9, 30)
    kept = ~np.eye(30, dtype=bool)
    without = np.array([1 - error[rows].sum() / spread[rows].sum() for rows in kept])
    jackknife = np.sqrt(29 / 30 * np.square(without - without.mean()).sum())

    found = mean_over_folds([fold(x, 1.0) for x in error], [scale(x, 1.0) for x in spread])

    assert found["skill_ttl_se"] == pytest.approx(jackknife, rel=0.05)


def test_the_interval_is_that_of_students_t():
    low, high = interval_95(0.3, 0.1, 10)

    assert (low + high) / 2 == pytest.approx(0.3)
    assert (high - low) / 2 == pytest.approx(0.2262, abs=1e-4)


def test_baselines_are_fitted_in_each_fold_and_the_mean_voice_has_no_skill(packed):
    folds = make_folds(packed, 4)

    found = baselines_over_folds(folds)

    assert set(found) == {"mean", "ridge", "statistics"}
    for name in ("skill", "skill_ttl", "skill_dp", "skill_se"):
        assert found["mean"][name] == pytest.approx(0, abs=1e-6)
    assert found["statistics"]["skill_se"] > 0
    for each, fold in zip(fold_scales(folds), folds.folds, strict=True):
        mean = mean_styles(fold.statistics, len(fold.val))
        scores = score(mean, fold.val.styles, fold.statistics)
        assert each.spreads.tolist() == pytest.approx([scores["ttl_mse"], scores["dp_mse"]])
