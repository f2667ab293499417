"""Scores of predicted styles.

Raw cosine says little: the mean voice alone has 0.93 on real styles. So the scores here are
relative to the mean of the training voices.

Shapes: N clips, V voices, D style elements, M mel bands.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.style_statistics import Statistics
from tune_encoder.data.voice_style import TTL_SHAPE

# The objective of a search: fixed, so that trials with different loss weights can be compared.
OBJECTIVE_TTL, OBJECTIVE_DP, OBJECTIVE_COSINE = 1.0, 1.0, 0.1
EPSILON = 1e-30  # avoids division by zero

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Styles:
    """Styles of N clips: `ttl` (N, 50, 256) and `dp` (N, 8, 16)."""

    ttl: Array
    dp: Array

    def flatten(self) -> Array:
        """Return both styles of each clip, flattened and concatenated, (N, 12928)."""
        n = len(self.ttl)
        return np.concatenate([self.ttl.reshape(n, -1), self.dp.reshape(n, -1)], axis=1)


def mean_styles(statistics: Statistics, n: int) -> Styles:
    """Return the mean voice, repeated N times."""
    ttl, dp = statistics.ttl_mean, statistics.dp_mean
    return Styles(np.broadcast_to(ttl, (n, *ttl.shape)), np.broadcast_to(dp, (n, *dp.shape)))


def score(predicted: Styles, target: Styles, statistics: Statistics) -> dict[str, float]:
    """Return all scores of `predicted` against `target`, by name.

    It runs every epoch, so each product of rows is computed only once.
    """
    mean = mean_styles(statistics, 1).flatten()
    predicted_rows, target_rows = predicted.flatten(), target.flatten()
    raw_cosine = float(
        _cosines(
            np.vecdot(predicted_rows, target_rows), _squares(predicted_rows), _squares(target_rows)
        ).mean()
    )
    predicted_rows, target_rows = predicted_rows - mean, target_rows - mean
    ttl_error, dp_error = _squared_error(predicted_rows - target_rows)
    ttl_spread, dp_spread = _squared_error(target_rows)
    skill_ttl, skill_dp = (
        1 - ttl_error / max(ttl_spread, EPSILON),
        1 - dp_error / max(dp_spread, EPSILON),
    )
    ttl_mse, dp_mse = ttl_error / target.ttl.size, dp_error / target.dp.size
    similarity = _cosines(
        predicted_rows @ target_rows.T, _squares(predicted_rows)[:, None], _squares(target_rows)
    )
    return {
        "loss": (
            OBJECTIVE_TTL * ttl_mse / statistics.ttl_variance
            + OBJECTIVE_DP * dp_mse / statistics.dp_variance
            + OBJECTIVE_COSINE * (1 - raw_cosine)
        ),
        # 1 - SSE(prediction) / SSE(mean voice): 0 is predicting the mean, 1 is perfect
        "skill": (skill_ttl + skill_dp) / 2,
        "skill_ttl": skill_ttl,
        "skill_dp": skill_dp,
        # of deviations from the mean voice: 0 is chance
        "centered_cosine": float(similarity.diagonal().mean()),
        "retrieval": _retrieval(similarity, target),
        "cosine": raw_cosine,
        "spread": _variance(predicted_rows) / max(_variance(target_rows), EPSILON),
        "ttl_mse": ttl_mse,
        "dp_mse": dp_mse,
    }


def _squares(rows: Array) -> Array:
    """Squared length of each row."""
    return np.asarray(np.vecdot(rows, rows))


def _cosines(products: Array, squares: Array, other_squares: Array) -> Array:
    """Cosines of rows from their dot products; 0 for a row of length 0."""
    lengths = np.sqrt(squares) * np.sqrt(other_squares)
    return np.asarray(products / np.maximum(lengths, EPSILON))


def _squared_error(rows: Array) -> tuple[float, float]:
    """Sums of squares over clips, for style_ttl and style_dp."""
    ttl, dp = np.split(rows, [math.prod(TTL_SHAPE)], axis=1)
    return float(_squares(ttl).sum()), float(_squares(dp).sum())


def _retrieval(similarity: Array, target: Styles) -> float:
    """Fraction of clips whose nearest target style, by centred cosine, is that of their voice.

    Chance level is 1 / number of unique styles.
    """
    nearest = similarity.argmax(axis=1)
    hits = [np.array_equal(target.ttl[i], target.ttl[j]) for i, j in enumerate(nearest)]
    return float(np.mean(hits))


def _variance(rows: Array) -> float:
    """Variance over clips, summed over elements."""
    return float(_squares(rows - rows.mean(axis=0)).mean())
