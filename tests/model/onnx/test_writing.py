from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from tests.fabricate import SMALL_ENCODER, random_encoder
from tune_encoder.data.closed_form import KINDS, fit_closed_form
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.scores import score
from tune_encoder.errors import StorageError
from tune_encoder.model.closed_form import ClosedFormRegression
from tune_encoder.model.encoder import ClosedFormEncoder
from tune_encoder.model.folder import load_model
from tune_encoder.model.onnx.checking import (
    check_audio_encoder,
    check_front_end,
    check_voice_encoder,
    predict_pack_onnx,
)
from tune_encoder.model.onnx.session import AUDIO_ENCODER, VOICE_ENCODER, int8_name, open_onnx
from tune_encoder.model.onnx.writing import write_onnx
from tune_encoder.model.prediction import predict_pack, predict_voice

NAMES = (AUDIO_ENCODER, VOICE_ENCODER)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "input_name", "dims"),
    [
        (AUDIO_ENCODER, "mel_spectrogram", ["batch", 80, "frames"]),
        (VOICE_ENCODER, "audio", ["batch", "samples"]),
    ],
)
def test_inputs_and_outputs_have_their_names_and_lengths(model_dir, name, input_name, dims):
    graph = onnx.load(model_dir / name, load_external_data=False).graph

    assert [(each.name, lengths(each)) for each in graph.input] == [(input_name, dims)]
    assert [(each.name, lengths(each)) for each in graph.output] == [
        ("style_ttl", ["batch", 1, 50, 256]),
        ("style_dp", ["batch", 1, 8, 16]),
    ]
    assert not any(tensor.external_data for tensor in graph.initializer)


def lengths(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_no_path_of_the_machine_stands_in_a_file(model_dir):
    for name in NAMES:
        assert b".py" not in (model_dir / name).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_type": "convnext", "head": "lowrank", "n_mels": 40},
        {"encoder_type": "cnn", "head": "linear", "pooling": "mean", "num_layers": 3},
        {"encoder_type": "transformer", "head": "pca", "n_fft": 1000, "hop_length": 250},
        {"encoder_type": "transformer", "head": "query", "crop_seconds": 0.7},
    ],
)
def test_every_encoder_and_head_gives_what_torch_gives(packed, tmp_path, voices, settings):
    config = replace(SMALL_ENCODER, **settings)
    bands = {
        name: getattr(packed.statistics, name)[: config.n_mels] for name in ("mel_mean", "mel_std")
    }
    encoder = random_encoder(config, replace(packed.statistics, **bands))

    check_like_torch(tmp_path, encoder, config, voices)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_form_gives_what_torch_gives(packed, tmp_path, voices, kind):
    train = packed.train
    ids = train.style_ids[train.window_clips]
    fitted = fit_closed_form(
        train.windows, train.unique_styles, ids, ids, packed.statistics, kind=kind
    )
    encoder = ClosedFormEncoder(ClosedFormRegression(fitted), packed.statistics).eval()

    assert bool(len(fitted.landmarks)) == (kind == "kernel")
    check_like_torch(tmp_path, encoder, replace(SMALL_ENCODER, encoder_type="statistics"), voices)


def check_like_torch(tmp_path, encoder, config, voices):
    write_onnx(tmp_path, encoder, config, epoch=1)

    features = np.random.default_rng(0).normal(size=(3, config.n_mels, 131)).astype(np.float32)
    with torch.no_grad():
        expected = [style.numpy() for style in encoder(torch.from_numpy(features))]
    for ours, torchs in zip(
        open_onnx(tmp_path / AUDIO_ENCODER).run(features), expected, strict=True
    ):
        np.testing.assert_allclose(ours[:, 0], torchs, atol=1e-4)
    ttl, dp = open_onnx(tmp_path / VOICE_ENCODER).run(voices[0][None])
    style = predict_voice(encoder, config, voices[0])
    np.testing.assert_allclose(ttl[0, 0], style.ttl, atol=1e-4)
    np.testing.assert_allclose(dp[0, 0], style.dp, atol=1e-4)


def test_each_clip_of_a_batch_has_the_style_it_has_alone(model_dir, voices):
    session = open_onnx(model_dir / VOICE_ENCODER)
    clips = np.stack([np.resize(voice, 100_003) for voice in voices])

    together = session.run(clips)

    for i in range(len(clips)):
        for batch, alone in zip(together, session.run(clips[i : i + 1]), strict=True):
            np.testing.assert_allclose(batch[i], alone[0], atol=1e-5)


# --- what does not agree is refused --------------------------------------------------------------


def test_an_audio_encoder_of_other_weights_is_refused_with_the_difference(model_dir, packed):
    other = random_encoder(SMALL_ENCODER, packed.statistics)
    with torch.no_grad():
        other.head.ttl_mean[3, 7] += 2e-4

    with pytest.raises(
        StorageError,
        match=r"audio_encoder\.onnx: style_ttl of 1 x 1 frames differs from torch's by 2\.0e-04, "
        r"more than 0\.0001; export without onnx, and report it",
    ):
        check_audio_encoder(open_onnx(model_dir / AUDIO_ENCODER), other, SMALL_ENCODER)


def test_a_voice_encoder_of_other_windows_is_refused(model_dir):
    encoder, config = load_model(model_dir)

    with pytest.raises(
        StorageError, match=r"voice_encoder\.onnx: style_ttl of 2 x \d+ samples dif"
    ):
        check_voice_encoder(
            open_onnx(model_dir / VOICE_ENCODER), encoder, replace(config, crop_seconds=1.0)
        )


@pytest.mark.parametrize("changes", [{"n_fft": 1022}, {"hop_length": 250}])
def test_another_front_end_is_refused(model_dir, changes):
    config = replace(SMALL_ENCODER, **changes)

    with pytest.raises(StorageError, match=r"front end of 1 x \d+ samples differs .*than 0\.001;"):
        check_front_end((model_dir / VOICE_ENCODER).read_bytes(), config)


# --- scores --------------------------------------------------------------------------------------


def test_the_scores_of_a_split_are_those_of_torch(model_dir, packed):
    encoder, config = load_model(model_dir)
    session = open_onnx(model_dir / AUDIO_ENCODER)

    ours = predict_pack_onnx(session, packed.val, crop_frames(config))

    torchs = predict_pack(encoder, packed.val, crop_frames(config), CPU)
    expected = score(torchs, packed.val.styles, packed.statistics)
    assert score(ours, packed.val.styles, packed.statistics) == pytest.approx(expected, abs=1e-4)


def test_eight_bits_are_smaller_and_predict_nearly_the_same(model_dir, packed):
    names = (AUDIO_ENCODER, int8_name(AUDIO_ENCODER))
    sessions = (open_onnx(model_dir / name) for name in names)

    exact, rough = (
        predict_pack_onnx(each, packed.val, crop_frames(SMALL_ENCODER)) for each in sessions
    )

    error = np.linalg.norm(rough.flatten() - exact.flatten())
    assert 1e-4 < error / np.linalg.norm(exact.flatten() - exact.flatten().mean(axis=0)) < 0.1
    sizes = [(model_dir / name).stat().st_size for name in names]
    assert sizes[1] < 0.5 * sizes[0]


def test_the_front_end_is_not_quantised(model_dir):
    check_front_end((model_dir / int8_name(VOICE_ENCODER)).read_bytes(), SMALL_ENCODER)
