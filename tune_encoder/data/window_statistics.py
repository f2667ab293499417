"""Statistics of a window of log-mel features: what a closed-form regression sees of a voice.

Shapes: B windows, M mel bands, T frames, C cepstra, S statistics.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

N_CEPSTRA = 24  # beyond, covariances of clean and noisy recordings of a voice hardly agree
QUANTILES = (10, 50, 90)  # percent
VARIANCE_FLOOR = 1e-10  # keeps a square root of a constant band exact enough in float32
N_BAND_MOMENTS = 2  # the first statistics of each band: mean and deviation


def window_statistics(features: Tensor) -> Tensor:
    """Return the statistics of each window.

    In this order: mean, standard deviation, quantiles and the root mean square of first
    differences of every band; then the upper triangle of the covariance of the first cepstra,
    which are the type II DCT of the log-mel bands (Davis and Mermelstein, IEEE Transactions on
    Acoustics, Speech and Signal Processing, 1980, section II).

    Args:
        features: (B, M, T) from `data.log_mel.log_mel`, T at least 1.

    Returns:
        (B, S)
    """
    n_mels, n_frames = features.shape[1:]
    features = features.contiguous()  # sums over frames are several times faster then
    mean = features.mean(dim=2)
    centred = features - mean[:, :, None]
    ordered = _sorted_over_time(features)
    quantiles = [ordered[:, :, (n_frames - 1) * percent // 100] for percent in QUANTILES]
    changes = features - torch.cat([features[:, :, :1], features[:, :, :-1]], dim=2)
    basis = torch.tensor(dct_basis(n_mels), dtype=features.dtype, device=features.device)
    cepstra = basis @ centred  # (B, C, T)
    covariance = cepstra @ cepstra.transpose(1, 2) / n_frames
    row, column = torch.triu_indices(len(basis), len(basis))
    return torch.cat(
        [
            mean,
            _root_mean(centred, n_frames),
            *quantiles,
            _root_mean(changes, n_frames),
            covariance[:, row, column],
        ],
        dim=1,
    )


def _sorted_over_time(features: Tensor) -> Tensor:
    """On a CPU by numpy, 20 times faster than torch, which exported graphs need."""
    if features.device.type != "cpu" or torch.compiler.is_compiling():
        return features.sort(dim=2).values
    return torch.from_numpy(np.sort(features.detach().numpy(), axis=2))


def _root_mean(values: Tensor, n_frames: int) -> Tensor:
    squares: Tensor = values.square().sum(dim=2) / n_frames
    return squares.clamp(min=VARIANCE_FLOOR).sqrt()


@lru_cache(maxsize=8)
def dct_basis(n_mels: int) -> NDArray[np.float64]:
    """Return the orthonormal type II DCT over bands, (C, M)."""
    bands = np.arange(n_mels) + 0.5
    orders = np.arange(min(N_CEPSTRA, n_mels))[:, None]
    basis = np.cos(np.pi * orders * bands / n_mels) * np.sqrt(2 / n_mels)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)
