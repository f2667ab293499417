"""Small things that several test files make."""

import numpy as np
import soundfile
import torch
from safetensors.torch import save

from tune_encoder.config import TrainConfig, to_mapping, write_yaml
from tune_encoder.data.samples import Sample
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE, VoiceStyle, unit_rows
from tune_encoder.model.encoder import build_encoder
from tune_encoder.system.manifest import save_with_hash

SMALL_ENCODER = TrainConfig(hidden_dim=8, num_layers=1, dropout=0.0)


def make_style(seed, version=0):
    """A style at cosine 0.9 from the others of its version, and about 0 from other versions."""
    center, own = np.random.default_rng([version, 99]), np.random.default_rng([version, seed])
    ttl, dp = (
        unit_rows(unit_rows(center.normal(size=shape)) + 0.3 * unit_rows(own.normal(size=shape)))
        for shape in (TTL_SHAPE, DP_SHAPE)
    )
    return VoiceStyle(ttl, dp)


def make_sample(seed=0, n_samples=480, **changes):
    """A clip of quiet noise, 20 ms long if not told otherwise, with its style."""
    style = make_style(seed)
    audio = np.random.default_rng(seed).normal(scale=0.1, size=n_samples).astype(np.float32)
    fields = {"audio": audio, "text": "Hello.", "lang": "en", "sample_rate": 24000, "voice": None}
    return Sample(style_ttl=style.ttl, style_dp=style.dp, **{**fields, **changes})


def bare_state(epoch):
    """The state of a checkpoint without an encoder."""
    return {"epoch": epoch, "config": {}, "data": {}, "history": []}


def random_encoder(config, statistics):
    """An encoder whose last layers are random, so that it answers to what it hears."""
    torch.manual_seed(0)
    encoder = build_encoder(config, statistics).eval()
    for name, weight in encoder.head.named_parameters():
        if name.endswith(".weight") and not weight.any():
            torch.nn.init.normal_(weight, std=0.3 if "coefficients" in name else 0.01)
    return encoder


def write_wav(path, audio, rate=24000):
    """A recording with 16 bits a sample; `audio` is (T,) or (T, C)."""
    soundfile.write(path, audio, rate, subtype="PCM_16")
    return path


def write_model(folder, config, weights):
    """An exported model as far as it is read: its settings and its weights."""
    save_with_hash(folder / "model.safetensors", save(weights), epoch=1)
    (folder / "config.yaml").write_text(write_yaml(to_mapping(config)))
    return folder
