"""What is written for speed gives the losses of the plain way to write it."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import training_batches
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.packing import pack_data
from tune_encoder.data.scores import score
from tune_encoder.model.backbones import ChannelsLastBatchNorm, ChannelsLastConv
from tune_encoder.model.dropout import Dropout
from tune_encoder.model.heads import FrameLinear
from tune_encoder.model.prediction import predict_pack
from tune_encoder.training.augment import DB, augment
from tune_encoder.training.loop import train
from tune_encoder.training.loss import style_loss
from tune_encoder.training.state import AdamW, start_run

CPU = torch.device("cpu")


def plain(module):
    """Have the convolutions of a model computed as torch writes them."""
    for name, child in module.named_children():
        if isinstance(child, ChannelsLastConv | FrameLinear):
            setattr(module, name, PlainConv(child))
        elif isinstance(child, ChannelsLastBatchNorm):
            setattr(module, name, PlainNorm(child))
        else:
            plain(child)
    return module


class PlainConv(nn.Module):
    """The same weights over rows of frames, by conv1d."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        conv = self.conv
        padding = conv.kernel_size[0] // 2
        frames = x.transpose(1, 2).contiguous()
        out = F.conv1d(frames, conv.weight, conv.bias, conv.stride, padding, groups=conv.groups)
        return out.transpose(1, 2).contiguous()


class PlainNorm(nn.Module):
    """The same batch norm, over frames that are columns."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return nn.BatchNorm1d.forward(self.norm, x.transpose(1, 2)).transpose(1, 2)


def plain_loss(predicted, target, config, statistics):
    ttl = F.mse_loss(predicted[0], target[0]) / statistics.ttl_variance
    dp = F.mse_loss(predicted[1], target[1]) / statistics.dp_variance
    a, b = (torch.cat([part.flatten(1) for part in style], dim=1) for style in (predicted, target))
    cosine = 1 - F.cosine_similarity(a, b).mean()
    return config.lambda_ttl * ttl + config.lambda_dp * dp + config.lambda_cosine * cosine


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(("training", "product_pays"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel_size", "stride", "groups"),
    [
        (80, 16, 7, 4, 1),
        (16, 24, 5, 2, 1),
        (16, 16, 5, 1, 16),
        (16, 16, 1, 1, 16),
        (12, 8, 3, 2, 4),
    ],
)
def test_a_convolution_of_rows_is_that_of_columns(
    inputs, outputs, kernel_size, stride, groups, training, product_pays, narrow, monkeypatch
):
    monkeypatch.setattr("tune_encoder.model.backbones.USE_MATMUL_CONV", product_pays)
    torch.manual_seed(0)
    conv = ChannelsLastConv(inputs, outputs, kernel_size, stride=stride, groups=groups).train(
        training
    )
    rows = torch.randn(3, 47, inputs, requires_grad=True)
    same = rows.detach().clone().requires_grad_()

    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        found = conv(rows).float()
    expected = PlainConv(conv)(same)
    weight = torch.randn_like(found)
    ours = torch.autograd.grad((found * weight).sum(), [rows, *conv.parameters()])
    plains = torch.autograd.grad((expected * weight).sum(), [same, *conv.parameters()])

    for our, other in zip((found, *ours), (expected, *plains), strict=True):
        error = (our - other).norm() / other.norm()
        assert error < (1e-2 if narrow else 1e-6), error


def test_a_norm_of_rows_is_that_of_columns():
    norm, columns = ChannelsLastBatchNorm(6), nn.BatchNorm1d(6)
    rows = torch.randn(4, 11, 6)

    torch.testing.assert_close(norm(rows), columns(rows.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(norm.running_var, columns.running_var)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    x = torch.ones(7, 101, 999, requires_grad=True)

    found = Dropout(p)(x)

    n_dropped = int((found == 0).sum())
    deviation = math.sqrt(x.numel() * p * (1 - p))
    assert abs(n_dropped - p * x.numel()) < 4 * deviation
    kept = found[found != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-4, atol=0)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient, found.detach())
    share_of_pairs = float(((found[..., 1:] == 0) & (found[..., :-1] == 0)).float().mean())
    assert share_of_pairs == pytest.approx(p * p, rel=0.05)  # neighbours are independent


def test_dropout_depends_on_the_seed_alone_and_leaves_inference_alone():
    layer, x = Dropout(0.3), torch.randn(5, 33)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)

    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert layer.eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_gradients_of_the_loss_are_those_of_its_formula(packed):
    styles, config = packed.train.styles, TrainConfig(lambda_cosine=0.7)
    target = torch.from_numpy(styles.ttl), torch.from_numpy(styles.dp)
    torch.manual_seed(0)
    ttl, dp = ((part + 0.02 * torch.randn_like(part)).requires_grad_() for part in target)

    ours = style_loss((ttl, dp), target, config, packed.statistics).total
    formula = plain_loss((ttl, dp), target, config, packed.statistics)

    torch.testing.assert_close(ours, formula, rtol=1e-5, atol=0)
    found, expected = (torch.autograd.grad(loss, (ttl, dp)) for loss in (ours, formula))
    for our, other in zip(found, expected, strict=True):
        torch.testing.assert_close(our, other, rtol=1e-4, atol=1e-8)


def test_noise_is_added_as_powers_add_at_the_ends_of_the_range_too():
    config = TrainConfig(
        augment_prob=1.0,
        augment_gain_db=0.0,
        augment_bandlimit_hz=0.0,
        augment_noise_snr_min=20.0,
        augment_noise_snr_max=20.0,
        spec_augment_time_mask=0,
        spec_augment_freq_mask=0,
    )
    features = torch.linspace(-19, 12, 64)[:, None, None] + torch.randn(64, 80, 40)
    torch.manual_seed(0)
    torch.rand(4 * 64)  # a gain, two choices and the ratio
    color = torch.randn(64, 1, 80).transpose(1, 2)
    level = features.logsumexp(dim=(1, 2), keepdim=True) - math.log(80 * 40) - 20 * DB
    expected = torch.logaddexp(features, level + color.log_softmax(dim=1) + math.log(80))

    torch.manual_seed(0)
    found = augment(features, config, torch.zeros(80, 1))

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("encoder_type", "rtol"), [("convnext", 1e-3), ("cnn", 6e-3), ("transformer", 1e-3)]
)
def test_a_run_has_the_losses_of_the_plain_loop(packed, tmp_path, encoder_type, rtol):
    """Within a few thousandths after nine steps, which change the loss by several times that.

    AdamW divides by the size of a gradient, so that the rounding of one that is nearly zero counts:
    in the cnn, whose activations are zero for half of their inputs.
    """
    config = TrainConfig(
        encoder_type=encoder_type,
        epochs=3,
        epoch_of="clips",
        batch_size=8,
        dropout=0.0,
        augment_prob=0.0,
        use_amp=False,
    )
    state = start_run(config, packed, CPU)
    model, losses = plain(state.model), []
    for epoch in range(1, config.epochs + 1):
        model.train()
        for batch in training_batches(packed.train, config, epoch):
            predicted, target = model(batch.features), (batch.ttl, batch.dp)
            plain_loss(predicted, target, config, packed.statistics).backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.schedule.step()
        guess = predict_pack(model, packed.val, crop_frames(config), CPU)
        losses.append(score(guess, packed.val.styles, packed.statistics)["loss"])

    ours = train(config, packed, tmp_path, lambda row, state: None)

    found = [row["val_loss"] for row in ours.history]
    np.testing.assert_allclose(found, losses, rtol=rtol)
    assert abs(found[-1] - found[0]) > 4 * rtol * found[0]


@pytest.mark.parametrize("encoder_type", ["convnext", "cnn", "transformer"])
def test_an_epoch_in_bfloat16_has_the_losses_of_float32(packed, tmp_path, encoder_type):
    """Within a hundredth after three steps, also where the CPU can only emulate bfloat16."""

    def scores(name, **changes):
        config = TrainConfig(
            encoder_type=encoder_type,
            epochs=1,
            epoch_of="clips",
            batch_size=8,
            dropout=0.0,
            learning_rate=3e-3,
            warmup_epochs=0.0,
            **changes,
        )
        row = train(config, packed, tmp_path / name, lambda row, state: None).history[-1]
        return np.array([row["train_loss"], row["val_loss"], row["gradient_norm"]])

    found, expected = scores("narrow", amp_dtype="bfloat16"), scores("wide", use_amp=False)
    error = abs(found / expected - 1)
    assert (error > 0).all()
    assert (error < [0.01, 0.01, 0.03]).all(), error


def test_the_optimizer_steps_and_resumes_as_torch_s_does():
    def trained(optimizer_type, *, resumed):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        optimizer = optimizer_type(model.parameters(), 1e-2, weight_decay=0.1, fused=True)
        for step in range(6):
            optimizer.zero_grad(set_to_none=True)
            model(torch.ones(2, 5) * step).square().sum().backward()
            optimizer.step()
            if resumed and step == 2:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = optimizer_type(model.parameters(), 1.0, fused=True)
                optimizer.load_state_dict(state)
        assert all(parameter.requires_grad for parameter in model.parameters())
        return model.state_dict()

    expected = trained(torch.optim.AdamW, resumed=False)

    for resumed in (False, True):
        torch.testing.assert_close(trained(AdamW, resumed=resumed), expected, rtol=0, atol=0)


TRAIN_AND_LIST = """
import sys
from pathlib import Path
from tune_encoder.training.checkpoints import load_state, save_state
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.training.loop import train

pack, folder = map(Path, sys.argv[1:])
file = folder / "state.pt"
config = TrainConfig(epochs=2, hidden_dim=16, num_layers=1, device="cpu")
train(config, open_pack(pack), folder, lambda row, state: save_state(file, state.state_dict()))
train(config, open_pack(pack), folder, lambda row, state: None, load_state(file))
print(*(name for name in ("torch", "torch._dynamo", "sympy") if name in sys.modules))
"""


def test_training_and_resuming_load_no_compiler(data_dir, cache, tmp_path):
    pack = pack_data(data_dir, TrainConfig())
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_LIST, str(pack), str(tmp_path)],
        capture_output=True,
        text=True,
    )

    assert done.stdout == "torch\n", done.stderr
