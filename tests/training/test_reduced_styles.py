import copy
import dataclasses

import numpy as np
import pytest
import torch

from tests.training.runs import CPU, ignore, tiny
from tune_encoder.config import CLOSED_FORM
from tune_encoder.data.batches import training_batches
from tune_encoder.training.loop import train
from tune_encoder.training.loss import style_loss
from tune_encoder.training.reduced_styles import reduce_styles
from tune_encoder.training.state import start_run

N_COMPONENTS = 7


def started(packed, statistics=None, **changes):
    """A state in float64 that predicts other styles than the mean voice."""
    data = dataclasses.replace(packed, statistics=statistics or packed.statistics)
    settings = {"pca_components": N_COMPONENTS, "dropout": 0.0, "lambda_cosine": 0.7}
    state = start_run(tiny(**{**settings, **changes}), data, CPU)
    for parameter in state.model.head.parameters():
        torch.nn.init.normal_(parameter)
    state.model.double()
    return state


def loss_and_gradients(state, module, ttl, dp, statistics):
    torch.manual_seed(0)
    features = torch.randn(len(dp), 80, 40, dtype=torch.float64)
    target = torch.from_numpy(ttl).double(), torch.from_numpy(dp)
    loss = style_loss(module(features), target, state.config, statistics)
    return loss, torch.autograd.grad(loss.total, list(state.model.parameters()))


def repeated(statistics):
    """Statistics whose components are one of zeros, the mean voice, and one twice."""
    mean = {
        "ttl_basis": statistics.ttl_mean.ravel(),
        "joint_basis": np.concatenate([statistics.ttl_mean.ravel(), statistics.dp_mean.ravel()]),
    }
    bases = {name: getattr(statistics, name) for name in mean}
    return dataclasses.replace(
        statistics,
        **{n: np.stack([0 * b[0], mean[n], b[1], b[1], b[2]]) for n, b in bases.items()},
    )


@pytest.mark.parametrize("loss_scale", ["variance", "none"])
@pytest.mark.parametrize("change", [lambda statistics: statistics, repeated])
@pytest.mark.parametrize("head", ["joint", "pca"])
def test_losses_and_gradients_of_reduced_styles_are_those_of_whole_ones(
    packed, head, change, loss_scale
):
    statistics = change(packed.statistics)
    state = started(packed, statistics, head=head, loss_scale=loss_scale)

    reduce_styles(state, packed.train)

    whole = packed.train.unique_styles
    found = loss_and_gradients(state, state.module, state.targets, whole.dp, statistics)
    expected = loss_and_gradients(state, state.model, whole.ttl, whole.dp, statistics)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_a_batch_of_reduced_styles_has_two_numbers_more_than_components(packed):
    state = started(packed)

    reduce_styles(state, packed.train)

    whole, reduced = (
        next(training_batches(packed.train, state.config, 1, ttl)) for ttl in (None, state.targets)
    )
    assert torch.equal(reduced.features, whole.features)
    assert torch.equal(reduced.dp, whole.dp)
    assert reduced.ttl.dtype == torch.float32
    assert reduced.ttl.shape == (len(whole.ttl), N_COMPONENTS + 2)
    torch.testing.assert_close(reduced.ttl.norm(dim=1), whole.ttl.flatten(1).norm(dim=1))


@pytest.mark.parametrize(
    "other",
    [{"head": "lowrank"}, {"head": "linear"}, {"head": "query"}, {"encoder_type": CLOSED_FORM}],
    ids=str,
)
def test_an_encoder_without_a_fixed_basis_trains_on_whole_styles(packed, other):
    state = start_run(tiny(**other), packed, CPU)

    reduce_styles(state, packed.train)

    assert state.module is state.model
    assert state.targets is None


def test_a_run_resumes_with_the_basis_of_its_checkpoint(packed, tmp_path):
    """On another machine the components of a pack may have other signs."""
    config = tiny(epochs=2, use_amp=False)
    saved = []

    def save(row, state):
        saved.append(copy.deepcopy(state.state_dict()))

    whole = train(config, packed, tmp_path, save).history
    turned = dataclasses.replace(packed.statistics, joint_basis=-packed.statistics.joint_basis)
    resumed = train(
        config, dataclasses.replace(packed, statistics=turned), tmp_path, ignore, saved[0]
    ).history

    assert resumed[1]["val_loss"] == whole[1]["val_loss"]
    assert resumed[1]["train_loss"] == whole[1]["train_loss"]
