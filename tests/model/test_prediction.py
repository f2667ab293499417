import numpy as np
import pytest
import torch

from tests.training.runs import (
    CPU,
    tiny,
)
from tune_encoder.data.batches import covering_windows, to_features
from tune_encoder.data.crops import crop_frames
from tune_encoder.errors import ConfigError
from tune_encoder.model.device import pick_device
from tune_encoder.model.prediction import predict_pack
from tune_encoder.training.epoch import train_epoch
from tune_encoder.training.state import start_run


def test_a_clip_is_predicted_as_the_mean_of_the_windows_that_cover_it(packed):
    state = start_run(tiny(learning_rate=1e-2), packed, CPU)
    train_epoch(state, packed, CPU)
    n_frames = crop_frames(state.config)

    predicted = predict_pack(state.model, packed.val, n_frames, CPU)

    for i in range(len(packed.val)):
        cut = covering_windows(packed.val.clip(i), n_frames)
        assert len(cut) > 1
        with torch.no_grad():
            ttl, dp = state.model.eval()(to_features(cut))
        np.testing.assert_allclose(predicted.ttl[i], ttl.mean(dim=0), atol=1e-5)
        np.testing.assert_allclose(predicted.dp[i], dp.mean(dim=0), atol=1e-5)


def test_predicting_uses_no_dropout(packed):
    state = start_run(tiny(dropout=0.9), packed, CPU)
    train_epoch(state, packed, CPU)
    state.model.train()

    first, again = (predict_pack(state.model, packed.val, 47, CPU) for _ in range(2))

    np.testing.assert_array_equal(first.ttl, again.ttl)


def test_a_device_the_machine_lacks_is_refused():
    if torch.backends.mps.is_available():
        pytest.skip("this machine has MPS")
    with pytest.raises(ConfigError, match=r"device is mps, which torch does not find here; use au"):
        pick_device("mps")
