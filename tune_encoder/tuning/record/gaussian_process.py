"""A Gaussian process over points of the unit cube, fitted anew for each proposal within 50 ms.

The kernel is Matérn 5/2 with a length scale for each parameter. The length scales and the noise are
the best of a few random steps, under priors that keep a setting that hardly matters from being
fitted to noise; on the testbeds of `tests.benchmarks` more steps gained nothing.

Source: Rasmussen, Williams: Gaussian Processes for Machine Learning, 2006, chapters 2 and 5.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import ndtr

Array = NDArray[np.float64]

FIT_POINTS = 100  # points to which length scales are fitted
_STEPS = 60  # random steps of the fit
_ONE_STEP, _ALL_STEP = 1.0, 0.35  # their sizes, in natural logarithms, for one and for all values
_LENGTH_SCALES = (0.05, 20.0)
_NOISE, _NOISES = 0.1, (1e-3, 2.0)  # relative to the variance
_TINY = 1e-9


@dataclass(frozen=True)
class Kernel:
    """Covariance of two points, relative to the variance."""

    weights: Array
    """1 / length scale of each column of the points (columns,)."""
    noise: float

    def between(self, one: Array, other: Array) -> Array:
        """Return the covariances of two sets of points (n, columns) and (m, columns): (n, m)."""
        a, b = one * self.weights, other * self.weights
        return _matern((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T)

    def within(self, points: Array) -> Array:
        """Return the covariances of observations at these points, with their noise: (n, n)."""
        return self.between(points, points) + self.noise * np.eye(len(points))


def _matern(squared_distances: Array) -> Array:
    scaled = np.sqrt(5 * np.maximum(squared_distances, _TINY))
    covariances: Array = (1 + scaled + scaled * scaled / 3) * np.exp(-scaled)
    return covariances


class GaussianProcess:
    """What is known of the values at all points, after some of them were observed."""

    def __init__(self, kernel: Kernel, points: Array, values: Array, variance: float) -> None:
        self.kernel, self.points, self.values = kernel, points, values
        self._variance = variance
        self._root = _cholesky(kernel.within(points))
        self._solved = cho_solve((self._root, True), values)

    @classmethod
    def fit(
        cls, points: Array, values: Array, owners: NDArray[np.intp], random: np.random.Generator
    ) -> "GaussianProcess":
        """Fit to observations.

        Args:
            points: Observed points (n, columns).
            values: Their values (n,), of mean 0 and about unit variance.
            owners: The parameter of each column (columns,), numbered from 0.
            random: Draws the steps.
        """
        chosen = np.argsort(values, kind="stable")
        half = FIT_POINTS // 2
        if len(chosen) > FIT_POINTS:
            others = random.choice(chosen[half:], FIT_POINTS - half, replace=False)
            chosen = np.concatenate([chosen[:half], others])
        kernel = _Fit(points[chosen], values[chosen], owners).search(random)
        root = _cholesky(kernel.within(points))
        return cls(kernel, points, values, _variance(root, values))

    def with_pending(self, points: Array) -> "GaussianProcess":
        """Return the process as if its own mean had been observed at these points (m, columns)."""
        if not len(points):
            return self
        mean, _ = self.predict(points)
        both = np.vstack([self.points, points])
        return GaussianProcess(
            self.kernel, both, np.concatenate([self.values, mean]), self._variance
        )

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return the mean and the standard deviation at points (m, columns): two of (m,)."""
        across = self.kernel.between(points, self.points)
        explained = solve_triangular(self._root, across.T, lower=True, check_finite=False)
        left = np.maximum(1 - (explained**2).sum(axis=0), _TINY)
        return across @ self._solved, np.sqrt(self._variance * left)

    def expected_improvement(self, points: Array, best: float) -> Array:
        """Return by how much points (m, columns) are expected to be below `best`: (m,).

        A loss counts as 0.
        """
        mean, deviation = self.predict(points)
        scaled = (best - mean) / deviation
        density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
        expected: Array = deviation * (scaled * ndtr(scaled) + density)
        return expected


def _cholesky(covariances: Array) -> Array:
    root: Array = cholesky(covariances, lower=True, check_finite=False)
    return root


def _variance(root: Array, values: Array) -> float:
    """Return the variance, given the root of the relative covariances; 1 counts as observed."""
    white = solve_triangular(root, values, lower=True, check_finite=False)
    return float((white @ white + 1) / (len(values) + 1))


class _Fit:
    """Searches the length scales and the noise."""

    def __init__(self, points: Array, values: Array, owners: NDArray[np.intp]) -> None:
        self._values, self._owners = values, owners
        n, n_parameters = len(points), int(owners.max()) + 1
        gaps = (points[:, None] - points[None]) ** 2
        self._gaps = np.zeros((n_parameters, n, n))
        for column, owner in enumerate(owners):
            self._gaps[owner] += gaps[:, :, column]
        self._prior = np.append(
            np.full(n_parameters, math.log(0.5 * math.sqrt(n_parameters))), math.log(_NOISE)
        )

    def search(self, random: np.random.Generator) -> Kernel:
        """Return the best kernel of a few random steps."""
        best, loss = self._prior, self._loss(self._prior)
        for step in range(_STEPS):
            tried = best.copy()
            if step % 3:
                tried[random.integers(len(tried))] += _ONE_STEP * random.standard_normal()
            else:
                tried += _ALL_STEP * random.standard_normal(len(tried))
            tried[:-1] = np.clip(tried[:-1], *np.log(_LENGTH_SCALES))
            tried[-1] = np.clip(tried[-1], *np.log(_NOISES))
            if (its_loss := self._loss(tried)) < loss:
                best, loss = tried, its_loss
        return Kernel(np.exp(-best[:-1])[self._owners], math.exp(best[-1]))

    def _loss(self, logs: Array) -> float:
        """Return the negative log of the posterior density, up to a constant."""
        covariances = _matern(np.tensordot(np.exp(-2 * logs[:-1]), self._gaps, axes=1))
        n = len(covariances)
        root = _cholesky(covariances + math.exp(logs[-1]) * np.eye(n))
        fit = 0.5 * n * math.log(_variance(root, self._values)) + np.log(np.diag(root)).sum()
        return float(fit + 0.5 * ((logs - self._prior) ** 2).sum())
