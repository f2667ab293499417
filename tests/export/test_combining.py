"""Averages and ensembles, from real checkpoints."""

import dataclasses
import itertools
import json
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.export.conftest import rows_by_loss
from tests.export.test_blending import with_crops
from tune_encoder.config import ExportSettings
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.scores import score
from tune_encoder.export import Source, choose, export_models
from tune_encoder.export.card import describe_alternative
from tune_encoder.export.choosing import best_epochs
from tune_encoder.export.combining import (
    Model,
    average_model,
    best_model,
    ensemble_model,
    single_model,
)
from tune_encoder.export.contents import Alternative
from tune_encoder.export.origin import search_origin
from tune_encoder.model.encoder import Ensemble
from tune_encoder.model.evaluate import CPU
from tune_encoder.model.folder import load_model, read_model_config
from tune_encoder.model.onnx.session import VOICE_ENCODER, open_onnx
from tune_encoder.model.prediction import predict_pack
from tune_encoder.report.contents import read_contents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # the first trains and exports
MODELS = {"average": 3, "ensemble": 2}


def combine(searched, packed, **asked):
    (first,) = choose(searched, 1)
    return best_model(
        searched, first, ExportSettings(**{"formats": "torch", "blend": "none", **asked}), packed
    )


def scores_of(model, pack, packed):
    predicted = predict_pack(model.encoder, pack, crop_frames(model.config), CPU)
    return score(predicted, pack.styles, packed.statistics)


def test_the_average_has_the_mean_weights_of_the_best_epochs(searched):
    trial, _ = rows_by_loss(searched)[0]
    epochs = list(itertools.islice(best_epochs(searched, [trial]), 3))

    model = average_model(epochs)

    losses = sorted(row["val_loss"] for row in trial.rows)
    assert [member.row["val_loss"] for member in model.members] == losses[:3]
    for name, tensor in model.encoder.state_dict().items():
        weights = torch.stack([member.state["model"][name] for member in epochs])
        torch.testing.assert_close(tensor, weights.mean(0))


@pytest.mark.parametrize("kind", list(MODELS))
def test_a_combination_is_taken_only_if_it_wins_on_validation(searched, packed, kind):
    alone = single_model(choose(searched, 1)[0])
    model = combine(searched, packed, **{kind: MODELS[kind]})
    (rival,) = model.alternatives

    assert rival["value_alone"] == pytest.approx(scores_of(alone, packed.val, packed)["loss"])
    assert rival["taken"] == (rival["value"] < rival["value_alone"])
    assert model.kind == (kind if rival["taken"] else "epoch")
    assert rival["test_skill_alone"] == pytest.approx(
        scores_of(alone, packed.test, packed)["skill"], abs=1e-6
    )
    low, high = rival["test_difference_95"]
    assert low <= rival["test_skill"] - rival["test_skill_alone"] <= high


def test_the_best_alternative_on_validation_is_exported(searched, packed):
    model = combine(searched, packed, **MODELS)
    average, ensemble = model.alternatives
    values = {"epoch": average["value_alone"], "average": average["value"]}
    values["ensemble"] = ensemble["value"]

    assert model.kind == min(values, key=values.__getitem__)
    assert scores_of(model, packed.val, packed)["loss"] == pytest.approx(min(values.values()))


def test_a_single_checkpoint_is_no_average_and_the_output_says_what_keeps_more(experiment, packed):
    trial, row = rows_by_loss(experiment)[0]
    for path in experiment.checkpoint_files(trial.number):
        if path != experiment.checkpoint_file(row):
            path.unlink()

    model = combine(experiment, packed, average=3)

    assert model.kind == "epoch"
    assert describe_alternative(model.alternatives[0]) == (
        "average: not possible with only one checkpoint; raise resources.keep"
    )


@pytest.mark.parametrize(
    ("interval", "taken", "said"),
    [
        (
            (0.001, 0.02),
            True,
            "average of 3 (5 asked, 3 kept): val_skill 0.4100 on val, single epoch 0.4000, "
            "so used; skill on test +0.010 (95 % +0.001 to +0.020 over voices), significant",
        ),
        (
            (-0.001, 0.02),
            False,
            "average of 3 (5 asked, 3 kept): val_skill 0.4100 on val, single epoch 0.4000, "
            "so not used; skill on test +0.010 (95 % -0.001 to +0.020 over voices), "
            "not significant",
        ),
    ],
)
def test_an_alternative_is_described_with_its_test_scores(interval, taken, said):
    rival = {"kind": "average", "asked": 5, "members": 3, "metric": "val_skill", "value": 0.41}
    skills: dict[str, Any] = {
        "test_skill": 0.31,
        "test_skill_alone": 0.30,
        "test_difference_95": interval,
    }
    skills |= {"value_alone": 0.4, "taken": taken}

    assert describe_alternative(cast("Alternative", {**rival, **skills})) == said


def export_ensemble(searched, packed, to):
    """Export both trials as an ensemble; return them."""
    choices = choose(searched, 2)
    encoders = [single_model(choice).encoder for choice in choices]
    ensemble = Model("ensemble", Ensemble(encoders), choices, 0.0)
    loss = scores_of(ensemble, packed.val, packed)["loss"]
    ensemble = Model("ensemble", Ensemble(encoders), choices, loss)
    settings = ExportSettings(formats="torch", blend="none")
    export_models([ensemble], to, Source(search_origin(searched), packed, settings))
    return choices, encoders


def test_an_exported_ensemble_is_one_folder_that_predicts_the_mean_of_its_members(
    searched, packed, tmp_path
):
    choices, encoders = export_ensemble(searched, packed, tmp_path / "model")

    loaded, config = load_model(tmp_path / "model")
    assert config.learning_rate == choices[0].config.learning_rate
    assert (tmp_path / "model" / "config_2.yaml").is_file()
    features = torch.randn(2, 80, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        members = [encoder(features) for encoder in encoders]
        ttl, dp = loaded(features)
    torch.testing.assert_close(ttl, (members[0][0] + members[1][0]) / 2)
    torch.testing.assert_close(dp, (members[0][1] + members[1][1]) / 2)


def test_an_ensemble_is_given_the_longest_windows_that_a_member_was_trained_on(
    searched, packed, tmp_path
):
    short, other = choose(searched, 2)
    long = with_crops(other, 1.0)

    model = ensemble_model("ensemble", [short, long])
    model = dataclasses.replace(model, loss=scores_of(model, packed.val, packed)["loss"])
    exported = ExportSettings(formats="torch,onnx")  # which is compared with torch
    export_models([model], tmp_path, Source(search_origin(searched), packed, exported))

    loaded, config = load_model(tmp_path)
    assert model.config.crop_seconds == config.crop_seconds == 1.0
    assert read_model_config(tmp_path).crop_seconds == 0.5
    is_double = [each.dtype == torch.float64 for each in loaded.state_dict().values()]
    assert not any(is_double)  # which Apple's GPUs do not have
    expected = predict_pack(loaded, packed.test, crop_frames(long.config), CPU)
    np.testing.assert_allclose(model.predict(packed.test).ttl, expected.ttl, atol=1e-6)
    metadata = open_onnx(tmp_path / VOICE_ENCODER).metadata
    assert metadata["window_frames"] == str(crop_frames(long.config))
    assert "windows of 1 s" in (tmp_path / "MODEL_CARD.md").read_text()


def test_the_report_shows_a_combination_beside_the_winner(experiment, packed):
    def result():
        contents = read_contents(experiment)
        (section,) = [each for each in contents.sections if each.key == "scores"]
        return contents.headline.verdict, section

    alone, _ = result()
    export_ensemble(experiment, packed, experiment.path / "best")
    metrics = json.loads((experiment.path / "best" / "metrics.json").read_text())
    skill = metrics["scores"]["test"]["model"]["skill"]
    together, section = result()

    assert together == f"{alone} The exported model, made of several encoders, has {skill:.3f}."
    assert f"; the exported model {skill:.3f}" in section.figures[0].summary
    (experiment.path / "best" / "model.safetensors").write_bytes(b"damaged")
    without, section = result()
    assert without == alone
    assert any("best: not a usable model" in note for note in section.notes)
