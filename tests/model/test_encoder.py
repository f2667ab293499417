import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tune_encoder.config import TrainConfig
from tune_encoder.model.encoder import build_encoder, rebuild_encoder
from tune_encoder.training.loss import style_loss

ENCODERS = ("convnext", "cnn", "transformer")
HEADS = ("joint", "pca", "lowrank", "linear", "query")
every_encoder_and_head = pytest.mark.parametrize(
    ("encoder_type", "head"), [(encoder, head) for encoder in ENCODERS for head in HEADS]
)
# Moves every frame's score alike, or every value that a batch norm then centres: no effect.
WITHOUT_EFFECT = {
    "head.pool.score.2.bias",
    "backbone.blocks.0.0.bias",
    "backbone.blocks.1.0.bias",
}


def tiny(**changes):
    sizes = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "head_rank": 8, "dropout": 0.0}
    return TrainConfig(**{**sizes, **changes})


def built(config, statistics, seed=0):
    torch.manual_seed(seed)
    return build_encoder(config, statistics)


def awake(encoder, seed=0):
    """Give the last layers, which start at zero, something to say."""
    torch.manual_seed(seed)
    for module in encoder.head.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.1)
            nn.init.normal_(module.bias, std=0.1)
    return encoder


def make_features(packed, n_clips, n_frames):
    clips = [np.array(packed.train.clip(i)[:n_frames]) for i in range(n_clips)]
    return torch.tensor(np.stack(clips), dtype=torch.float32).transpose(1, 2).contiguous()


def targets(packed, n_clips):
    styles = packed.train.styles
    return torch.from_numpy(styles.ttl[:n_clips]), torch.from_numpy(styles.dp[:n_clips])


def backward(encoder, packed, config, n_clips=4, n_frames=60):
    predicted = encoder(make_features(packed, n_clips, n_frames))
    loss = style_loss(predicted, targets(packed, n_clips), config, packed.statistics).total
    encoder.zero_grad()
    loss.backward()
    return predicted


@every_encoder_and_head
@pytest.mark.parametrize(
    ("n_clips", "n_frames"), [(3, 61), (1, 61), (3, 1), (1, 1)], ids=lambda n: str(n)
)
def test_every_encoder_gives_finite_styles(packed, encoder_type, head, n_clips, n_frames):
    config = tiny(encoder_type=encoder_type, head=head)
    encoder = awake(built(config, packed.statistics)).eval()

    ttl, dp = encoder(make_features(packed, n_clips, n_frames))

    assert ttl.shape == (n_clips, 50, 256)
    assert dp.shape == (n_clips, 8, 16)
    assert ttl.isfinite().all()
    assert dp.isfinite().all()


@every_encoder_and_head
def test_an_untrained_encoder_predicts_exactly_the_mean_voice(packed, encoder_type, head):
    encoder = built(tiny(encoder_type=encoder_type, head=head), packed.statistics)

    ttl, dp = encoder(make_features(packed, 3, 40))

    for style, mean in ((ttl, packed.statistics.ttl_mean), (dp, packed.statistics.dp_mean)):
        torch.testing.assert_close(style, torch.tensor(mean).expand_as(style), rtol=0, atol=0)


@every_encoder_and_head
def test_gradients_reach_every_parameter_once_the_head_has_left_zero(packed, encoder_type, head):
    config = tiny(encoder_type=encoder_type, head=head)
    encoder = built(config, packed.statistics)
    optimizer = torch.optim.AdamW(encoder.parameters(), 1e-2)

    backward(encoder, packed, config)
    optimizer.step()
    backward(encoder, packed, config)

    largest = {name: p.grad.abs().max() for name, p in encoder.named_parameters()}
    without = {name for name, gradient in largest.items() if gradient < 1e-6}
    assert without <= WITHOUT_EFFECT


@every_encoder_and_head
def test_gradients_of_a_single_frame_are_finite(packed, encoder_type, head):
    config = tiny(encoder_type=encoder_type, head=head)
    encoder = awake(built(config, packed.statistics))

    backward(encoder, packed, config, n_frames=1)

    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("encoder_type", ENCODERS)
def test_gradient_checkpointing_changes_no_output_gradient_or_statistic(packed, encoder_type):
    results = []
    for on in (False, True):
        config = tiny(encoder_type=encoder_type, gradient_checkpointing=on)
        encoder = awake(built(config, packed.statistics)).train()
        outputs = backward(encoder, packed, config)
        gradients = {name: p.grad for name, p in encoder.named_parameters()}
        after = {k: v for k, v in encoder.named_buffers() if "num_batches" not in k}
        results.append((outputs, gradients, after))

    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


@every_encoder_and_head
def test_a_prediction_does_not_depend_on_its_batch_mates(packed, encoder_type, head):
    encoder = awake(built(tiny(encoder_type=encoder_type, head=head), packed.statistics)).eval()
    features = make_features(packed, 5, 60)

    together = encoder(features)
    alone = encoder(features[2:3])

    for batch, one in zip(together, alone, strict=True):
        torch.testing.assert_close(batch[2:3], one, rtol=0, atol=1e-5)


def test_the_cnn_of_the_guide_has_the_size_of_the_reference(packed):
    config = TrainConfig(
        encoder_type="cnn", hidden_dim=512, num_layers=4, head="linear", pooling="mean"
    )

    n_parameters = sum(p.numel() for p in build_encoder(config, packed.statistics).parameters())

    assert 8.5e6 < n_parameters < 9.5e6


def test_a_pca_head_with_more_components_than_voices_takes_all_there_are(packed):
    encoder = awake(built(tiny(head="pca", pca_components=512), packed.statistics))

    ttl, _ = encoder(make_features(packed, 2, 40))

    assert encoder.head.ttl.coefficients.out_features == len(set(packed.train.voices)) - 1
    assert ttl.shape == (2, 50, 256)


def test_a_pca_head_moves_only_along_its_first_components(packed):
    encoder = awake(built(tiny(head="pca", pca_components=3), packed.statistics)).eval()

    ttl, _ = encoder(make_features(packed, 8, 40))

    deviation = (ttl - torch.tensor(packed.statistics.ttl_mean)).flatten(1)
    basis = torch.tensor(packed.statistics.ttl_basis[:3], dtype=torch.float32)
    fitted = torch.linalg.lstsq(basis.T, deviation.T).solution
    torch.testing.assert_close((basis.T @ fitted).T, deviation, rtol=0, atol=1e-5)


@pytest.mark.parametrize("components", [3, 512])
def test_a_joint_head_moves_both_styles_along_its_first_components(packed, components):
    encoder = awake(built(tiny(pca_components=components), packed.statistics)).eval()
    statistics = packed.statistics

    ttl, dp = encoder(make_features(packed, 8, 40))

    mean = np.concatenate([statistics.ttl_mean.ravel(), statistics.dp_mean.ravel()])
    deviation = torch.cat([ttl.flatten(1), dp.flatten(1)], dim=1) - torch.tensor(mean)
    basis = torch.tensor(statistics.joint_basis[:components], dtype=torch.float32)
    fitted = torch.linalg.lstsq(basis.T, deviation.T).solution
    torch.testing.assert_close((basis.T @ fitted).T, deviation, rtol=0, atol=1e-5)
    assert len(basis) == min(components, len(set(packed.train.voices)) - 1)


@every_encoder_and_head
def test_a_rebuilt_encoder_predicts_identically(packed, encoder_type, head):
    config = tiny(encoder_type=encoder_type, head=head)
    encoder = awake(built(config, packed.statistics))
    backward(encoder.train(), packed, config)  # moves the statistics of batch norms
    features = make_features(packed, 3, 50)

    rebuilt = rebuild_encoder(config, encoder.state_dict())

    assert not rebuilt.training
    torch.testing.assert_close(rebuilt(features), encoder.eval()(features), rtol=0, atol=0)


@pytest.mark.parametrize("head", ["joint", "pca", "lowrank", "linear"])
def test_pooling_the_mean_alone_halves_the_width_of_the_head_and_rebuilds(packed, head):
    config = tiny(head=head, pooling="mean")
    encoder = awake(built(config, packed.statistics)).eval()
    features = make_features(packed, 3, 50)

    rebuilt = rebuild_encoder(config, encoder.state_dict())

    torch.testing.assert_close(rebuilt(features), encoder(features), rtol=0, atol=0)
    assert encoder.head.norm.normalized_shape == (16,)
    assert built(tiny(head=head), packed.statistics).head.norm.normalized_shape == (32,)


def test_weights_of_another_head_are_refused_with_the_names_that_differ(packed):
    encoder = built(tiny(head="linear"), packed.statistics)

    with pytest.raises(RuntimeError, match=r"Missing key.*head\.ttl\.down\.weight"):
        rebuild_encoder(tiny(head="lowrank"), encoder.state_dict())


@pytest.mark.parametrize("encoder_type", ENCODERS)
def test_features_are_scaled_by_the_statistics(packed, encoder_type):
    config, statistics = tiny(encoder_type=encoder_type), packed.statistics
    louder = dataclasses.replace(
        statistics, mel_mean=2 * statistics.mel_mean + 3, mel_std=2 * statistics.mel_std
    )
    features = make_features(packed, 3, 50)

    usual = awake(built(config, statistics)).eval()(features)
    scaled = awake(built(config, louder)).eval()(2 * features + 3)

    torch.testing.assert_close(scaled, usual, rtol=0, atol=1e-4)


def test_a_band_that_never_changes_is_not_divided_by_zero(packed):
    still = dataclasses.replace(packed.statistics, mel_std=np.zeros(80, dtype=np.float32))

    ttl, _ = awake(built(tiny(), still)).eval()(make_features(packed, 2, 40))

    assert ttl.isfinite().all()


def test_equal_seeds_give_equal_weights_and_other_seeds_others(packed):
    first, again, other = (
        built(tiny(), packed.statistics, seed).state_dict() for seed in (1, 1, 2)
    )

    torch.testing.assert_close(first, again, rtol=0, atol=0)
    name = "backbone.0.weight"
    assert not torch.equal(first[name], other[name])
