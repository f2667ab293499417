import numpy as np
import pytest
import torch

from tune_encoder.config import TrainConfig
from tune_encoder.training.loss import style_loss


def make_pair(seed, n_clips=5):
    rng = np.random.default_rng(seed)
    return tuple(
        rng.normal(scale=0.1, size=(n_clips, *shape)).astype(np.float32)
        for shape in ((50, 256), (8, 16))
    )


def as_tensors(pair):
    return tuple(torch.from_numpy(part) for part in pair)


@pytest.mark.parametrize("lambdas", [(1.0, 1.0, 0.1), (2.0, 0.5, 3.0), (0.0, 1.0, 0.0)])
def test_the_unscaled_loss_is_the_formula_of_the_guide(packed, lambdas):
    predicted, target = make_pair(1), make_pair(2)
    weights = dict(zip(("lambda_ttl", "lambda_dp", "lambda_cosine"), lambdas, strict=True))
    config = TrainConfig(loss_scale="none", **weights)

    loss = style_loss(as_tensors(predicted), as_tensors(target), config, packed.statistics)

    ttl, dp = (((p.astype(float) - t) ** 2).mean() for p, t in zip(predicted, target, strict=True))
    a, b = (
        np.hstack([x.reshape(5, -1) for x in pair]).astype(float) for pair in (predicted, target)
    )
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = 1 - ((a * b).sum(axis=1) / lengths).mean()
    expected = [np.dot(lambdas, (ttl, dp, cosine)), ttl, dp, cosine]
    np.testing.assert_allclose(torch.stack(loss), expected, rtol=1e-6, atol=1e-6)


def test_predicting_the_mean_voice_costs_one_for_each_style_under_the_variance_scale(packed):
    target = as_tensors((packed.train.styles.ttl, packed.train.styles.dp))
    ttl_mean, dp_mean = packed.statistics.ttl_mean, packed.statistics.dp_mean
    predicted = (
        torch.tensor(ttl_mean).expand_as(target[0]),
        torch.tensor(dp_mean).expand_as(target[1]),
    )

    loss = style_loss(predicted, target, TrainConfig(), packed.statistics)

    assert loss.ttl.item() == pytest.approx(1.0, abs=1e-5)
    assert loss.dp.item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("scale", ["variance", "none"])
def test_a_perfect_prediction_costs_nothing(packed, scale):
    style = as_tensors(make_pair(3))

    loss = style_loss(style, style, TrainConfig(loss_scale=scale), packed.statistics)

    assert loss.total.item() == pytest.approx(0.0, abs=1e-6)
