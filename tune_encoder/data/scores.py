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
OBJECTIVE_WEIGHTS = np.array((1.0, 1.0))  # of ttl and dp
OBJECTIVE_COSINE = 0.1
EPSILON = 1e-30  # avoids division by zero

MAX_KNOWN_VOICES = 256  # of train in retrieval; it runs every epoch, and more would take longer

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]


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


@dataclass(frozen=True)
class KnownVoices:
    """Training styles among which retrieval also searches."""

    directions: Array
    """(V, D) deviations from the mean voice, each of length 1."""
    identities: list[bytes]
    """(V,) as `identities_of` gives them."""


def known_voices(styles: Styles, statistics: Statistics) -> KnownVoices:
    """Return at most `MAX_KNOWN_VOICES` of V different training styles, evenly spaced."""
    count = min(len(styles.ttl), MAX_KNOWN_VOICES)
    chosen = np.linspace(0, len(styles.ttl) - 1, count).astype(np.int64)
    some = Styles(styles.ttl[chosen].astype(np.float32), styles.dp[chosen])
    rows = some.flatten() - mean_styles(statistics, 1).flatten()
    lengths = np.sqrt(_squares(rows))[:, None]
    directions = (rows / np.maximum(lengths, EPSILON)).astype(np.float32)
    return KnownVoices(directions, identities_of(some))


def identities_of(styles: Styles) -> list[bytes]:
    """Return a key of each style, equal for clips of equal style.

    Some rows of style_ttl are enough, and reading all of them would take longer than the score.
    """
    ttl = styles.ttl[:, ::7].astype(np.float32)
    return [a.tobytes() + b.tobytes() for a, b in zip(ttl, styles.dp, strict=True)]


def score(
    predicted: Styles, target: Styles, statistics: Statistics, known: KnownVoices | None = None
) -> dict[str, float]:
    """Return all scores of `predicted` against `target`, by name.

    It runs every epoch, so each product of rows is computed only once. Clips of equal style count
    as one voice; with fewer than two voices there are no standard errors.

    Args:
        predicted: One style for each clip.
        target: The true styles.
        statistics: Of the training split.
        known: Training styles among which retrieval searches too.
    """
    mean = mean_styles(statistics, 1).flatten()
    predicted_rows, target_rows = predicted.flatten(), target.flatten()
    cosines = _cosines(
        np.vecdot(predicted_rows, target_rows), _squares(predicted_rows), _squares(target_rows)
    )
    predicted_rows, target_rows = predicted_rows - mean, target_rows - mean
    errors, spreads = (mean_squares(rows) for rows in (predicted_rows - target_rows, target_rows))
    weights = variance_weights(statistics)
    skill_ttl, skill_dp = 1 - errors.sum(axis=1) / np.maximum(spreads.sum(axis=1), EPSILON)
    losses = OBJECTIVE_WEIGHTS * weights @ errors + OBJECTIVE_COSINE * (1 - cosines)
    products = _cosines(
        predicted_rows @ target_rows.T, _squares(predicted_rows)[:, None], _squares(target_rows)
    )
    voices = identities_of(target)
    return {
        "loss": float(losses.mean()),
        "skill": float(skill_of(weights @ errors, weights @ spreads)),
        "skill_ttl": float(skill_ttl),
        "skill_dp": float(skill_dp),
        **_standard_errors(losses, weights @ errors, weights @ spreads, voices),
        # of deviations from the mean voice: 0 is chance
        "centered_cosine": float(products.diagonal().mean()),
        **_retrieval(products, voices, predicted_rows, known),
        "cosine": float(cosines.mean()),
        "spread": _variance(predicted_rows) / max(_variance(target_rows), EPSILON),
        "ttl_mse": float(errors[0].mean()),
        "dp_mse": float(errors[1].mean()),
    }


def variance_weights(statistics: Statistics) -> Doubles:
    """Return the weights (2,) of mean squared errors of ttl and dp: 1 / the training variance."""
    return 1 / np.array((statistics.ttl_variance, statistics.dp_variance))


def mean_squares(rows: Array) -> Doubles:
    """Return the mean square of an element of each row (N, D), for ttl and dp: (2, N)."""
    ttl, dp = np.split(rows, [math.prod(TTL_SHAPE)], axis=1)
    return np.stack([_squares(part).astype(np.float64) / part.shape[1] for part in (ttl, dp)])


def skill_of(errors: Doubles, spreads: Doubles) -> Doubles:
    """Return 1 - SSE(prediction) / SSE(mean voice), of errors summed over the last axis.

    One ratio over both styles, so that a split whose voices lie near the mean in one of them does
    not divide by nearly nothing. 0 is predicting the mean, 1 is perfect.
    """
    return np.asarray(1 - errors.sum(axis=-1) / np.maximum(spreads.sum(axis=-1), EPSILON))


def _standard_errors(
    losses: Doubles, errors: Doubles, spreads: Doubles, voices: list[bytes]
) -> dict[str, float]:
    """Standard errors of loss and skill over voices; both are ratios of sums over clips (N,)."""
    _, owner = np.unique(np.array(voices, dtype=object), return_inverse=True)
    if owner.max() == 0:
        return {}

    def per_voice(values: Doubles) -> Doubles:
        return np.bincount(owner, weights=values).astype(np.float64)

    counts = per_voice(np.ones(len(losses)))
    return {
        "loss_se": ratio_error(per_voice(losses), counts),
        "skill_se": ratio_error(per_voice(errors), per_voice(spreads)),
    }


def ratio_error(above: Doubles, below: Doubles) -> float:
    """Return the standard error of sum(above) / sum(below) over N independent parts, at least 2.

    Source: Cochran, Sampling Techniques, 3rd edition, eq. 2.46 (the ratio of two sample sums).
    """
    residuals = above - below * above.sum() / max(below.sum(), EPSILON)
    n = len(residuals)
    return float(np.sqrt(np.square(residuals).sum() * n / (n - 1)) / max(below.sum(), EPSILON))


def _squares(rows: Array) -> Array:
    """Squared length of each row."""
    return np.asarray(np.vecdot(rows, rows))


def _cosines(products: Array, squares: Array, other_squares: Array) -> Array:
    """Cosines of rows from their dot products; 0 for a row of length 0."""
    lengths = np.sqrt(squares) * np.sqrt(other_squares)
    return np.asarray(products / np.maximum(lengths, EPSILON))


def _retrieval(
    products: Array, voices: list[bytes], predicted_rows: Array, known: KnownVoices | None
) -> dict[str, float]:
    """Fraction of clips whose nearest style, by centred cosine, is that of their voice.

    The candidates are the different styles of the split and of the known voices; chance level is
    1 / their number.
    """
    nearest = products.argmax(axis=1)
    hits = np.array([voices[i] == voices[j] for i, j in enumerate(nearest)])
    own = set(voices)
    n_candidates = len(own)
    if known is not None:
        is_other = np.array([voice not in own for voice in known.identities])
        lengths = np.sqrt(_squares(predicted_rows))[:, None]
        rivals = predicted_rows @ known.directions.T / np.maximum(lengths, EPSILON)
        hits &= products.max(axis=1) >= rivals.max(axis=1, where=is_other, initial=-np.inf)
        n_candidates += int(is_other.sum())
    # The mean voice has no direction: it is near none of them, and finds what guessing would find.
    found = np.where(_squares(predicted_rows) > 0, hits, 1 / n_candidates)
    return {"retrieval": float(found.mean()), "retrieval_chance": 1 / n_candidates}


def _variance(rows: Array) -> float:
    """Variance over clips, summed over elements."""
    return float(_squares(rows - rows.mean(axis=0)).mean())
