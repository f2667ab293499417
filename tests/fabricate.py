"""Small things that several test files make."""

import sqlite3
from contextlib import closing

import numpy as np
import optuna
import soundfile
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from safetensors.torch import save

from tune_encoder.config import TrainConfig, to_mapping, write_yaml
from tune_encoder.data.samples import Sample
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE, VoiceStyle, unit_rows
from tune_encoder.experiment.folder import create_experiment
from tune_encoder.experiment.trials import epoch_key
from tune_encoder.model.encoder import build_encoder
from tune_encoder.space import space_to_content
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


def make_row(space, epoch, value):
    """A row of the record whose metric is `value`; its skill is 1 less `value` for a loss."""
    scores = {"val_loss": 1 - value, "val_skill": 1 - value, space.metric.name: value}
    state = {"epoch": epoch, "order": epoch, "finished": False, "seconds": 1.0}
    return {**state, "objective": space.metric.sign * value, **scores}


def make_search(root, space, trials, data_dir="", fingerprint="", name="mine", row_of=None):
    """An experiment as a search leaves it.

    `trials` are (state, searched settings, metric of each epoch), as (PRUNED, {...}, [0.9, 0.8]),
    and a reason if there is one. `row_of` makes a row of (trial's number, epoch, metric).
    """
    row_of = row_of or (lambda number, epoch, value: make_row(space, epoch, value))
    content = {"space": space_to_content(space), "data_dir": str(data_dir), "versions": {}}
    made = create_experiment(root, name, {**content, "fingerprint": fingerprint})
    study = optuna.create_study(study_name="search", storage=f"sqlite:///{made.study_path}")
    for number, (state, searched, values, *reason) in enumerate(trials):
        rows = [row_of(number, epoch, value) for epoch, value in enumerate(values, start=1)]
        noted = {"reason": reason[0]} if reason else {}
        settings = {**to_mapping(TrainConfig()), **space.base, **searched}
        distributions = {p.name: _distribution(p) for p in space.parameters}
        study.add_trial(
            create_trial(
                state=TrialState[state],
                value=min(values) if state == "COMPLETE" else None,
                params=searched,
                distributions={name: distributions[name] for name in searched},
                user_attrs={
                    "settings": settings,
                    **noted,
                    **{epoch_key(r["epoch"]): r for r in rows},
                },
                intermediate_values=dict(enumerate(values, start=1)),
            )
        )
    with closing(sqlite3.connect(made.study_path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
    return made


def _distribution(parameter):
    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.values)
    kind = IntDistribution if parameter.kind == "int" else FloatDistribution
    low, high = parameter.values
    return kind(low, high, log=parameter.log)
