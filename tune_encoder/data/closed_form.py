"""Closed-form regression from the statistics of a window to the style of its voice.

The statistics are `data.window_statistics`, standardised; the regression is a ridge regression on
them or on a Gaussian kernel between windows. A strength for each style and a factor that shrinks it
to the mean voice are those with the lowest error on held-out groups, such as voices. So where the
statistics tell nothing of new voices, the mean voice is what is left.

Shapes: W windows, S statistics, L landmarks, P predictors of rank R, K style components, G groups.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.scores import EPSILON, Styles
from tune_encoder.data.style_statistics import Statistics

KINDS = LINEAR, KERNEL = "linear", "kernel"
STRENGTHS = tuple(10.0**power for power in range(-5, 1))  # of the largest eigenvalue
KERNEL_WIDTH = 0.2  # the kernel is exp(-KERNEL_WIDTH / S * squared distance)
MAX_LANDMARKS = 1000  # windows that a kernel compares with; a model stores them
MIN_EIGENVALUE = 1e-7  # of the largest; below, a direction is rounding
VARIANCE_KEPT = 0.999  # of each style over the training voices
SIGNIFICANT = 2.0  # standard errors
SCALE_FLOOR = 1e-6  # of a constant statistic

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]


class StyleComponents(NamedTuple):
    """The mean of a style, and the orthonormal directions in which voices differ."""

    mean: Array
    """(50, 256) or (8, 16)"""
    basis: Array
    """(K, 12800) or (K, 128)"""


@dataclass(frozen=True)
class ClosedForm:
    """A fitted regression: `weights` times standardised statistics, or times kernel values."""

    center: Array
    """(S,)"""
    scale: Array
    """(S,)"""
    landmarks: Array
    """(L, S), standardised; none in a linear regression."""
    weights: Array
    """(S, K), or (L, K) with landmarks; the components of style_ttl, then of style_dp."""
    bias: Array
    """(K,)"""
    ttl: StyleComponents
    dp: StyleComponents
    skill: float
    """Skill on held-out groups of the training windows."""

    def predict(self, windows: Array) -> Styles:
        """Predict the styles of windows (W, S'); columns beyond S are not used."""
        standard = (windows[:, : len(self.center)] - self.center) / self.scale
        inputs = gaussian_kernel(standard, self.landmarks) if len(self.landmarks) else standard
        coefficients = inputs @ self.weights + self.bias
        parts = np.split(coefficients, [len(self.ttl.basis)], axis=1)
        ttl, dp = (
            style.mean + (part @ style.basis).reshape(-1, *style.mean.shape)
            for style, part in zip((self.ttl, self.dp), parts, strict=True)
        )
        return Styles(ttl.astype(np.float32), dp.astype(np.float32))


def gaussian_kernel(rows: Array, landmarks: Array) -> Array:
    """Return exp(-KERNEL_WIDTH / S * squared distance) of rows (W, S) to landmarks, (W, L)."""
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(landmarks).sum(axis=1)
    distances = np.maximum(squares - 2 * rows @ landmarks.T, 0)
    return np.asarray(np.exp(-KERNEL_WIDTH / rows.shape[1] * distances))


def fit_closed_form(
    windows: Array,
    styles: Styles,
    style_ids: NDArray[np.int64],
    groups: NDArray[np.int64],
    statistics: Statistics,
    *,
    kind: str,
) -> ClosedForm:
    """Fit on the windows of the training clips.

    Args:
        windows: (W, S)
        styles: The unique styles.
        style_ids: (W,) index of each window's style among them.
        groups: (W,) what is held out together: voices, or parts of clips.
        statistics: Of the same clips; their mean voice is what predictions shrink to.
        kind: `LINEAR` or `KERNEL`.
    """
    center, scale = windows.mean(axis=0), windows.std(axis=0) + SCALE_FLOOR
    standard = (windows - center) / scale
    ttl = _components(statistics.ttl_mean, statistics.ttl_basis)
    dp = _components(statistics.dp_mean, statistics.dp_basis)
    rows = ((styles.ttl, ttl), (styles.dp, dp))
    targets = np.concatenate([_coefficients(*each) for each in rows], axis=1)[style_ids]
    predictors = _predictors(standard, kind)
    fitted = _fit(predictors, targets, len(ttl.basis), groups)
    return ClosedForm(
        center.astype(np.float32),
        scale.astype(np.float32),
        predictors.landmarks.astype(np.float32),
        fitted.weights.astype(np.float32),
        fitted.bias.astype(np.float32),
        ttl,
        dp,
        fitted.skill,
    )


# --- styles --------------------------------------------------------------------------------------


def _components(mean: Array, scaled_basis: Array) -> StyleComponents:
    """The components that hold nearly all variance, from those of `Statistics`."""
    lengths = np.linalg.norm(scaled_basis, axis=1, keepdims=True)
    kept = np.cumsum(np.square(lengths)) / max(float(np.square(lengths).sum()), EPSILON)
    count = 1 + int(np.searchsorted(kept, VARIANCE_KEPT))
    basis = scaled_basis[:count] / np.maximum(lengths[:count], EPSILON)
    return StyleComponents(mean, np.asarray(basis, dtype=np.float32))


def _coefficients(styles: Array, components: StyleComponents) -> Doubles:
    rows = (styles - components.mean).reshape(len(styles), -1)
    return np.asarray(rows @ components.basis.T, dtype=np.float64)


# --- predictors ----------------------------------------------------------------------------------


class _Predictors(NamedTuple):
    """Columns to regress on, and how the weights of those map to what a `ClosedForm` stores."""

    rows: Doubles
    """(W, P)"""
    landmarks: Array
    """(L, S)"""
    whitening: Doubles | None
    """(L, P) from kernel values to the columns."""


def _predictors(standard: Array, kind: str) -> _Predictors:
    if kind == LINEAR:
        return _Predictors(standard.astype(np.float64), standard[:0], None)
    step = math.ceil(len(standard) / MAX_LANDMARKS)
    return _nystrom(standard, standard[::step])


def _nystrom(standard: Array, landmarks: Array) -> _Predictors:
    """Columns whose products are the kernel, exact on the landmarks.

    Source: Williams, Seeger: Using the Nystrom Method to Speed Up Kernel Machines, NIPS 2000.
    """
    kernel = gaussian_kernel(landmarks, landmarks).astype(np.float64)
    kernel[np.diag_indices_from(kernel)] += MIN_EIGENVALUE * len(landmarks)
    whitening = np.linalg.inv(np.linalg.cholesky(kernel)).T
    rows = gaussian_kernel(standard, landmarks).astype(np.float64) @ whitening
    return _Predictors(rows, landmarks, whitening)


# --- the fit -------------------------------------------------------------------------------------


class _Fit(NamedTuple):
    """Weights and bias as a `ClosedForm` stores them, and the skill on held-out groups."""

    weights: Doubles
    bias: Doubles
    skill: float


class _Smoother(NamedTuple):
    """The singular value decomposition of centred predictors, without rounding noise."""

    mean: Doubles
    """(P,)"""
    left: Doubles
    """(W, R)"""
    values: Doubles
    """(R,)"""
    right: Doubles
    """(P, R)"""


def _fit(predictors: _Predictors, targets: Doubles, split: int, groups: NDArray[np.int64]) -> _Fit:
    smoother = _decompose(predictors.rows)
    parts = [slice(0, split), slice(split, None)]
    choices = _choose_strengths(smoother, targets, parts, groups)
    average = targets.mean(axis=0)
    projected = smoother.left.T @ (targets - average)
    weights, bias = np.empty((predictors.rows.shape[1], targets.shape[1])), average.copy()
    for part, choice in zip(parts, choices, strict=True):
        filtered = smoother.values / (np.square(smoother.values) + choice.strength)
        weights[:, part] = choice.factor * smoother.right @ (filtered[:, None] * projected[:, part])
    bias -= smoother.mean @ weights
    if predictors.whitening is not None:
        weights = predictors.whitening @ weights
    return _Fit(weights, bias, float(np.mean([each.skill for each in choices])))


def _decompose(rows: Doubles) -> _Smoother:
    """By the smaller Gram matrix, several times faster than a singular value decomposition."""
    mean = rows.mean(axis=0)
    centred = rows - mean
    wide = len(rows) < rows.shape[1]
    squares, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    kept = squares > max(MIN_EIGENVALUE**2 * squares[-1], EPSILON)
    values, vectors = np.sqrt(squares[kept]), vectors[:, kept]
    other = (centred.T if wide else centred) @ vectors / values
    left, right = (vectors, other) if wide else (other, vectors)
    return _Smoother(mean, left, values, right)


class _Choice(NamedTuple):
    """How strongly a style is regularised, and the skill on held-out groups."""

    strength: float
    factor: float
    """From 0, the mean voice, to 1, the regression as it is."""
    skill: float


def _choose_strengths(
    smoother: _Smoother, targets: Doubles, parts: list[slice], groups: NDArray[np.int64]
) -> list[_Choice]:
    nothing = [_Choice(1.0, 0.0, 0.0)] * len(parts)
    if not len(smoother.values) or len(np.unique(groups)) == 1:
        return nothing
    best = nothing
    for fraction in STRENGTHS:
        strength = fraction * float(smoother.values.max()) ** 2
        predicted, true = _held_out_means(smoother, targets, groups, strength)
        rated = [_shrink(predicted[:, part], true[:, part], strength) for part in parts]
        best = [max(pair, key=lambda each: each.skill) for pair in zip(best, rated, strict=True)]
    return best


def _shrink(predicted: Doubles, true: Doubles, strength: float) -> _Choice:
    """Scale held-out predictions (G, K), relative to the mean voice, by their best factor.

    It is 0 unless the errors of the groups fall significantly.
    """
    factor = float((predicted * true).sum() / max(np.square(predicted).sum(), EPSILON))
    factor = min(1.0, max(0.0, factor))
    spread = np.square(true).sum(axis=1)
    gains = spread - np.square(factor * predicted - true).sum(axis=1)
    if gains.mean() <= SIGNIFICANT * gains.std(ddof=1) / math.sqrt(len(gains)):
        return _Choice(strength, 0.0, 0.0)
    return _Choice(strength, factor, float(gains.sum() / max(spread.sum(), EPSILON)))


def _held_out_means(
    smoother: _Smoother, targets: Doubles, groups: NDArray[np.int64], strength: float
) -> tuple[Doubles, Doubles]:
    """Mean prediction and truth (G, K) of each group by a fit without it, relative to its mean.

    The residuals of a group g that is left out are (I - H_gg)^-1 e_g, where H is the matrix of the
    fit to all and e its residuals: Cook, Weisberg, Residuals and Influence in Regression, 1982,
    section 3.6.
    """
    n, average = len(targets), targets.mean(axis=0)
    shrinkage = np.square(smoother.values) / (np.square(smoother.values) + strength)
    centred = targets - average
    residuals = centred - (smoother.left * shrinkage) @ (smoother.left.T @ centred)
    means = []
    for rows in _rows_of_groups(groups):  # (G', size)
        left = smoother.left[rows]
        hat = (left * shrinkage) @ left.transpose(0, 2, 1) + 1 / n
        held_out = np.linalg.solve(
            (1 + MIN_EIGENVALUE) * np.eye(rows.shape[1]) - hat, residuals[rows]
        )
        others = (n * average - targets[rows].sum(axis=1)) / (n - rows.shape[1])
        true = targets[rows].mean(axis=1)
        means.append((true - held_out.mean(axis=1) - others, true - others))
    predicted, true = zip(*means, strict=True)
    return np.concatenate(predicted), np.concatenate(true)


def _rows_of_groups(groups: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows (G', size) of the groups of each size, to solve them together."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    for size in np.unique(sizes):
        first = starts[sizes == size]
        yield order[first[:, None] + np.arange(size)]
