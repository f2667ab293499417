"""Statistics of the training split: means, variances, principal components.

Shapes: N voices or clips, M mel bands, K components; styles flattened to 12,800 and 128.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_COMPONENTS = 512  # more than an encoder of this size can distinguish
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


def style_statistics(ttl: Array, dp: Array) -> dict[str, Array | float]:
    """Compute the style fields of `Statistics` from styles (N, 50, 256) and (N, 8, 16)."""
    fields: dict[str, Array | float] = {}
    for name, styles in (("ttl", ttl), ("dp", dp)):
        mean = styles.mean(axis=0)
        centred = (styles - mean).reshape(len(styles), -1)
        fields[f"{name}_mean"] = mean
        fields[f"{name}_variance"] = max(float(np.square(centred).mean()), MIN_VARIANCE)
        fields[f"{name}_basis"] = principal_components(centred)
    return fields


def principal_components(centred: Array) -> Array:
    """Principal components of (N, D) centred rows, scaled to their standard deviation.

    Returns:
        (K, D), K at most N - 1, D, or `MAX_COMPONENTS`; at least one row, of zeros if needed.
    """
    n, width = centred.shape
    k = max(1, min(n - 1, width, MAX_COMPONENTS))
    rows = centred.astype(np.float64)
    if n < width:  # the N x N Gram matrix gives the same components at a fraction of the cost
        variances, mixtures = np.linalg.eigh(rows @ rows.T)
        components = mixtures.T[::-1][:k] @ rows  # each of length sqrt(variance)
    else:
        variances, directions = np.linalg.eigh(rows.T @ rows)
        lengths = np.sqrt(np.maximum(variances[::-1][:k], 0))
        components = lengths[:, None] * directions.T[::-1][:k]
    return np.asarray(components / np.sqrt(max(1, n - 1)), dtype=np.float32)
