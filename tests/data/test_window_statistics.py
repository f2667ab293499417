"""Statistics of a window, beside numpy's on the same frames."""

import numpy as np
import pytest
import torch

from tune_encoder.data.window_statistics import N_CEPSTRA, dct_basis, window_statistics

N_MELS = 30


def features(n_frames):
    rng = np.random.default_rng(3)
    return rng.normal(size=(2, N_MELS, n_frames)).astype(np.float32)


@pytest.mark.parametrize("n_frames", [1, 2, 7, 188])
def test_they_are_those_of_numpy(n_frames):
    given = features(n_frames)
    cepstra = dct_basis(N_MELS) @ (given - given.mean(axis=2, keepdims=True))
    covariance = cepstra @ cepstra.transpose(0, 2, 1) / n_frames
    changes = np.diff(given, axis=2, prepend=given[:, :, :1])
    rows, columns = np.triu_indices(N_CEPSTRA)

    found = window_statistics(torch.from_numpy(given)).numpy()

    expected = [
        given.mean(axis=2),
        given.std(axis=2),
        *(np.quantile(given, q, axis=2, method="lower") for q in (0.1, 0.5, 0.9)),
        np.sqrt(np.square(changes).mean(axis=2)),
        covariance[:, rows, columns],
    ]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=2e-5)


def test_the_layout_in_memory_changes_nothing_and_the_frames_stay_in_order():
    given = torch.from_numpy(features(50))
    bands_last = given.transpose(1, 2).contiguous().transpose(1, 2)
    before = bands_last.clone()

    assert torch.equal(window_statistics(bands_last), window_statistics(given))
    assert torch.equal(bands_last, before)
