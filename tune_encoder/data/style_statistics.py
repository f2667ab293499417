"""Statistics of the training split: means, variances, principal components.

Shapes: N clips, V different styles, M mel bands, K components; styles flattened to 12,800 and 128.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_COMPONENTS = 512  # more than an encoder of this size can distinguish
MAX_STYLES = 2048  # of which components are computed: the cost grows with the cube
MIN_DEVIATION = 1e-3  # of the first component; the rounding of float16 in a pack makes smaller ones
MIN_VARIANCE = 1e-12  # avoids division by zero in a data set with one voice
_BLOCK = 512  # styles

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


def style_statistics(
    ttl: Array | NDArray[np.float16], dp: Array, counts: NDArray[np.int64]
) -> dict[str, Any]:
    """Compute the style fields of `Statistics`.

    The components are those of at most `MAX_STYLES` styles, drawn at random.

    Args:
        ttl: (V, 50, 256) different styles.
        dp: (V, 8, 16)
        counts: (V,) how many clips have each of them.
    """
    n_styles = len(ttl)
    chosen = np.arange(n_styles)
    if n_styles > MAX_STYLES:
        chosen = np.sort(np.random.default_rng(0).permutation(n_styles)[:MAX_STYLES])
    fields: dict[str, Any] = {}
    parts: list[_Part] = []
    for name, styles in (("ttl", ttl), ("dp", dp)):
        mean, variance = _moments(styles, counts)
        fields[f"{name}_mean"] = mean
        fields[f"{name}_variance"] = max(variance, MIN_VARIANCE)
        centred = (styles[chosen] - mean).reshape(len(chosen), -1)
        fields[f"{name}_basis"] = _padded(principal_components(centred, counts[chosen]), counts)
        parts.append(_Part(centred, fields[f"{name}_basis"]))
    fields["joint_basis"] = joint_components(parts, counts[chosen])
    return fields


def _moments(styles: Array | NDArray[np.float16], counts: NDArray[np.int64]) -> tuple[Array, float]:
    """The mean voice, and the mean squared deviation of an element from it.

    Blocks of styles follow each other, so that no copy of all is in memory.
    """
    blocks = [slice(i, i + _BLOCK) for i in range(0, len(styles), _BLOCK)]
    weights = counts / counts.sum()
    mean = sum(np.tensordot(weights[each], styles[each], 1) for each in blocks)
    squares = (np.square(styles[each] - mean).mean(axis=(1, 2)) for each in blocks)
    variance = sum(weights[each] @ found for each, found in zip(blocks, squares, strict=True))
    return np.asarray(mean, dtype=np.float32), float(variance)


def _padded(components: Array, counts: NDArray[np.int64]) -> Array:
    """The components, with as many rows as if all clips had different styles; the others are zero.

    Older programs counted clips, and checkpoints have heads of that size.
    """
    count = max(1, min(int(counts.sum()) - 1, components.shape[1], MAX_COMPONENTS))
    return np.pad(components, ((0, max(0, count - len(components))), (0, 0)))


class _Part(NamedTuple):
    """One of the two styles of V voices."""

    centred: Array
    """(V, D)"""
    basis: Array
    """(K, D) its principal components, of any length."""


def joint_components(parts: Sequence[_Part], counts: NDArray[np.int64]) -> Array:
    """Principal components of several styles together, which count alike.

    Each style is divided by the root of its total variance, and the components are of length 1
    then; they are returned in units of the styles.

    Args:
        parts: The styles of the same V voices.
        counts: (V,) how many clips have each of them.

    Returns:
        (K, sum of D), those whose standard deviation is at least `MIN_DEVIATION` of the first's.
    """
    coordinates, maps = zip(*(_coordinates(part, counts) for part in parts), strict=True)
    units = _directions(principal_components(np.concatenate(coordinates, axis=1), counts))
    ends = np.cumsum([each.shape[1] for each in coordinates])[:-1]
    mixed = zip(np.split(units, ends, axis=1), maps, strict=True)
    return np.concatenate([unit @ back for unit, back in mixed], axis=1)


def _coordinates(part: _Part, counts: NDArray[np.int64]) -> tuple[Array, Array]:
    """Coordinates (V, K) of voices in a style's components, of total variance 1; the way back."""
    directions = _directions(part.basis)
    total = np.average(np.square(part.centred).sum(axis=1), weights=counts)
    scale = np.float32(np.sqrt(max(float(total), MIN_VARIANCE)))
    return part.centred @ directions.T / scale, scale * directions


def _directions(components: Array) -> Array:
    """The components above `MIN_DEVIATION` of the first, at length 1."""
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    count = max(1, int((lengths > MIN_DEVIATION * lengths[0]).sum()))
    return np.asarray(components[:count] / np.maximum(lengths[:count], MIN_VARIANCE))


def principal_components(centred: Array, counts: NDArray[np.int64]) -> Array:
    """Principal components of (V, D) centred rows, scaled to their standard deviation.

    Args:
        centred: The rows.
        counts: (V,) how often each is there, N times together.

    Returns:
        (K, D), K at most V, N - 1, D, or `MAX_COMPONENTS`; at least one row, of zeros if needed.
    """
    n, width = int(counts.sum()), centred.shape[1]
    k = max(1, min(len(centred), n - 1, width, MAX_COMPONENTS))
    weights = np.sqrt(counts)[:, None]
    rows = weights * centred  # in float64
    components: NDArray[np.floating]
    if len(rows) < width:  # the V x V Gram matrix gives the same components at less cost
        variances, mixtures = np.linalg.eigh(rows @ rows.T)
        # Each of length sqrt(variance). Rounded as the rows are, at half the cost.
        components = (mixtures.T[::-1][:k] * weights.T).astype(np.float32) @ centred
    else:
        variances, directions = np.linalg.eigh(rows.T @ rows)
        lengths = np.sqrt(np.maximum(variances[::-1][:k], 0))
        components = lengths[:, None] * directions.T[::-1][:k]
    return np.asarray(components / np.sqrt(max(1, n - 1)), dtype=np.float32)
