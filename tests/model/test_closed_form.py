"""The closed-form encoder: the regression of the pack as a torch module."""

import numpy as np
import pytest
import torch

from tests.training.runs import assert_equal_runs, ignore, tiny
from tune_encoder.data.baselines import closed_form
from tune_encoder.data.closed_form import ClosedForm
from tune_encoder.data.window_statistics import window_statistics
from tune_encoder.model.closed_form import ClosedFormRegression
from tune_encoder.model.encoder import rebuild_encoder
from tune_encoder.training.loop import train
from tune_encoder.training.state import is_finished

CONFIG = tiny(encoder_type="statistics", epochs=5, crop_seconds=2.0)


def features(n=3, n_frames=90):
    return torch.from_numpy(np.random.default_rng(2).normal(-7, 2, (n, 80, n_frames))).float()


def with_landmarks(fitted, windows):
    """The same regression with a kernel between windows, of any weights."""
    landmarks = (windows[:7] - fitted.center) / fitted.scale
    weights = np.random.default_rng(1).normal(size=(7, fitted.weights.shape[1]))
    fields = {name: getattr(fitted, name) for name in ClosedForm.__annotations__}
    return ClosedForm(**{**fields, "landmarks": landmarks, "weights": weights.astype(np.float32)})


@pytest.mark.parametrize("kernel", [False, True])
def test_the_module_computes_what_the_regression_predicts(packed, kernel):
    fitted = closed_form(packed)
    fitted = with_landmarks(fitted, np.asarray(packed.train.windows)) if kernel else fitted

    with torch.no_grad():
        ttl, dp = ClosedFormRegression(fitted)(features())

    expected = fitted.predict(window_statistics(features()).numpy())
    np.testing.assert_allclose(ttl, expected.ttl, atol=1e-4)
    np.testing.assert_allclose(dp, expected.dp, atol=1e-4)


def test_a_trial_of_it_ends_after_one_epoch_with_the_score_of_the_baseline(packed, tmp_path):
    state = train(CONFIG, packed, tmp_path, ignore)

    assert [row["epoch"] for row in state.history] == [1]
    assert is_finished(state)
    assert state.history[0]["val_skill"] == pytest.approx(
        packed.baselines["statistics"]["skill"], abs=1e-3
    )


def test_two_runs_of_it_are_equal_and_a_resumed_one_trains_no_further(packed, tmp_path):
    first, again = (train(CONFIG, packed, tmp_path / name, ignore) for name in "ab")

    resumed = train(CONFIG, packed, tmp_path / "c", ignore, first.state_dict())

    assert_equal_runs(again, first)
    assert_equal_runs(resumed, first)


def test_its_weights_rebuild_it_and_those_of_a_network_are_refused(packed, tmp_path):
    state = train(CONFIG, packed, tmp_path / "own", ignore)
    network = train(tiny(epochs=1), packed, tmp_path / "network", ignore)

    again = rebuild_encoder(CONFIG, state.model.state_dict())

    with torch.no_grad():
        for ours, theirs in zip(again(features()), state.model.eval()(features()), strict=True):
            assert torch.equal(ours, theirs)
    with pytest.raises(RuntimeError, match="'ttl_basis' among the weights"):
        rebuild_encoder(CONFIG, network.model.state_dict())


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_statistics_of_few_frames_are_finite(n_frames):
    assert torch.isfinite(window_statistics(features(n_frames=n_frames))).all()


def test_statistics_are_those_that_numpy_computes():
    window = features(1, 101)[0].numpy()

    found = window_statistics(torch.from_numpy(window)[None])[0].numpy()

    bands = [
        window.mean(axis=1),
        window.std(axis=1),
        *np.percentile(window, (10, 50, 90), axis=1),
        np.sqrt(np.square(np.diff(window, axis=1)).sum(axis=1) / 101),
    ]
    np.testing.assert_allclose(found[: 6 * 80], np.concatenate(bands), rtol=1e-4)
    assert len(found) == 6 * 80 + 24 * 25 // 2
