"""Statistics of the training split: means, variances, principal components.

Shapes: N voices or clips, M mel bands, K components; styles flattened to 12,800 and 128.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_COMPONENTS = 512  # more than an encoder of this size can distinguish
MIN_DEVIATION = 1e-3  # of the first component; the rounding of float16 in a pack makes smaller ones
MIN_VARIANCE = 1e-12  # avoids division by zero in a data set with one voice

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """Statistics of the training split, used by models, losses and scores."""

    mel_mean: Array
    """(M,) mean of each band over all training frames."""
    mel_std: Array
    """(M,) standard deviation of each band."""
    ttl_mean: Array
    """(50, 256), the mean voice."""
    dp_mean: Array
    """(8, 16)"""
    ttl_variance: float
    """Mean squared deviation of an element of style_ttl from the mean voice."""
    dp_variance: float
    ttl_basis: Array
    """(K, 12800) principal components, each scaled to its standard deviation; float16 in a pack."""
    dp_basis: Array
    """(K, 128)"""
    joint_basis: Array
    """(K, 12928) principal components of both styles, ttl then dp; see `joint_components`."""


def mel_statistics(bands: Array, lengths: Sequence[int] | NDArray[np.int64]) -> dict[str, Array]:
    """Compute the mel fields of `Statistics`.

    Args:
        bands: (N, 2 M) mean and standard deviation of each band, per clip.
        lengths: (N,) frames of each clip.
    """
    weights = np.array(lengths, dtype=np.float64)[:, None] / sum(lengths)
    means, deviations = np.split(bands, 2, axis=1)
    mean = (weights * means).sum(axis=0)
    square = (weights * (np.square(means) + np.square(deviations))).sum(axis=0)
    # In a constant band, such as one above the recordings' Nyquist frequency, the difference may be
    # slightly below 0 by rounding.
    deviation = np.sqrt(np.maximum(square - np.square(mean), 0))
    return {"mel_mean": mean.astype(np.float32), "mel_std": deviation.astype(np.float32)}


def style_statistics(ttl: Array, dp: Array) -> dict[str, Any]:
    """Compute the style fields of `Statistics` from styles (N, 50, 256) and (N, 8, 16)."""
    fields: dict[str, Any] = {}
    parts: list[_Part] = []
    for name, styles in (("ttl", ttl), ("dp", dp)):
        mean = styles.mean(axis=0)
        centred = (styles - mean).reshape(len(styles), -1)
        fields[f"{name}_mean"] = mean
        fields[f"{name}_variance"] = max(float(np.square(centred).mean()), MIN_VARIANCE)
        fields[f"{name}_basis"] = principal_components(centred)
        parts.append(_Part(centred, fields[f"{name}_basis"]))
    fields["joint_basis"] = joint_components(parts)
    return fields


class _Part(NamedTuple):
    """One of the two styles of N voices."""

    centred: Array
    """(N, D)"""
    basis: Array
    """(K, D) its principal components, of any length."""


def joint_components(parts: Sequence[_Part]) -> Array:
    """Principal components of several styles together, which count alike.

    Each style is divided by the root of its total variance, and the components are of length 1
    then; they are returned in units of the styles.

    Returns:
        (K, sum of D), those whose standard deviation is at least `MIN_DEVIATION` of the first's.
    """
    coordinates, maps = zip(*(_coordinates(part) for part in parts), strict=True)
    units = _directions(principal_components(np.concatenate(coordinates, axis=1)))
    ends = np.cumsum([each.shape[1] for each in coordinates])[:-1]
    mixed = zip(np.split(units, ends, axis=1), maps, strict=True)
    return np.concatenate([unit @ back for unit, back in mixed], axis=1)


def _coordinates(part: _Part) -> tuple[Array, Array]:
    """Coordinates (N, K) of voices in a style's components, of total variance 1; the way back."""
    directions = _directions(part.basis)
    total = np.square(part.centred).sum(axis=1).mean()
    scale = np.float32(np.sqrt(max(float(total), MIN_VARIANCE)))
    return part.centred @ directions.T / scale, scale * directions


def _directions(components: Array) -> Array:
    """The components above `MIN_DEVIATION` of the first, at length 1."""
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    count = max(1, int((lengths > MIN_DEVIATION * lengths[0]).sum()))
    return np.asarray(components[:count] / np.maximum(lengths[:count], MIN_VARIANCE))


def principal_components(centred: Array) -> Array:
    """Principal components of (N, D) centred rows, scaled to their standard deviation.

    Returns:
        (K, D), K at most N - 1, D, or `MAX_COMPONENTS`; at least one row, of zeros if needed.
    """
    n, width = centred.shape
    k = max(1, min(n - 1, width, MAX_COMPONENTS))
    rows = centred.astype(np.float64)
    components: NDArray[np.floating]
    if n < width:  # the N x N Gram matrix gives the same components at a fraction of the cost
        variances, mixtures = np.linalg.eigh(rows @ rows.T)
        # Each of length sqrt(variance). Rounded as the rows are, at half the cost.
        components = mixtures.T[::-1][:k].astype(np.float32) @ centred
    else:
        variances, directions = np.linalg.eigh(rows.T @ rows)
        lengths = np.sqrt(np.maximum(variances[::-1][:k], 0))
        components = lengths[:, None] * directions.T[::-1][:k]
    return np.asarray(components / np.sqrt(max(1, n - 1)), dtype=np.float32)
