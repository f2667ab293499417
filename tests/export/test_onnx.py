"""Model folders with ONNX files."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.export.conftest import rows_by_loss
from tune_encoder.config import ExportSettings
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.scores import score
from tune_encoder.export import Source, choose, export_models
from tune_encoder.export.combining import ENSEMBLE, single_model
from tune_encoder.export.origin import search_origin
from tune_encoder.export.verifying import verify
from tune_encoder.model.encoder import Ensemble
from tune_encoder.model.evaluate import CPU
from tune_encoder.model.onnx.session import open_onnx
from tune_encoder.model.prediction import predict_pack

pytest.importorskip("onnxscript")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def ensemble(searched, packed, tmp_path_factory):
    """An ensemble of two trials as ONNX files, one pair of them with int8."""
    choices = choose(searched, 2)
    encoders = [single_model(choice).encoder for choice in choices]
    joined = Ensemble(encoders).eval()
    predicted = predict_pack(joined, packed.val, crop_frames(choices[0].config), CPU)
    scores = score(predicted, packed.val.styles, packed.statistics)
    single = dataclasses.replace(single_model(choices[0]), loss=scores["loss"])
    model = dataclasses.replace(single, kind=ENSEMBLE, encoder=joined, members=choices)
    settings = ExportSettings(formats="onnx", int8=True)
    folder = tmp_path_factory.mktemp("ensemble") / "model"
    (metrics,) = export_models([model], folder, Source(search_origin(searched), packed, settings))
    return SimpleNamespace(folder=folder, metrics=metrics, skill=scores["skill"], encoders=encoders)


def test_an_ensemble_is_exported_with_the_config_of_each_member(ensemble):
    assert {path.name for path in ensemble.folder.iterdir()} == {
        *("config.yaml", "config_2.yaml", "voices.npz", "novelty.npz"),
        *("audio_encoder.onnx", "audio_encoder.int8.onnx"),
        *("voice_encoder.onnx", "voice_encoder.int8.onnx"),
        *("metrics.json", "MODEL_CARD.md", "provenance.json"),
    }


def test_what_int8_costs_is_known_on_each_split(ensemble):
    int8 = ensemble.metrics["onnx"]["int8_skill"]

    assert set(int8) == {"val", "test"}
    assert int8["val"] == pytest.approx(ensemble.skill, abs=0.05)


def test_an_ensemble_is_one_graph_that_gives_the_mean_of_its_members(ensemble):
    features = np.random.default_rng(0).normal(size=(2, 80, 50)).astype(np.float32)

    found = open_onnx(ensemble.folder / "audio_encoder.onnx").run(features)

    expected = [member(torch.from_numpy(features)) for member in ensemble.encoders]
    for part in (0, 1):
        mean = sum(styles[part].detach().numpy() for styles in expected) / 2
        np.testing.assert_allclose(found[part][:, 0], mean, atol=1e-4)


def test_an_ensemble_is_verified_by_its_hashes_alone(ensemble):
    found = verify(ensemble.folder)

    assert found.mismatches == []
    assert found.not_scored == "model.safetensors is missing"


def test_both_kinds_of_files_lie_side_by_side(searched, packed, tmp_path):
    settings = ExportSettings(formats="torch,onnx")
    (choice,) = choose(searched, 1)
    assert choice.row == rows_by_loss(searched)[0][1]

    export_models(
        [single_model(choice)],
        tmp_path / "model",
        Source(search_origin(searched), packed, settings),
    )

    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "model.pt", "audio_encoder.onnx", "voice_encoder.onnx"} <= names
    assert "manifest.json" not in names
    found = verify(tmp_path / "model")
    assert (found.mismatches, found.not_scored) == ([], "")
