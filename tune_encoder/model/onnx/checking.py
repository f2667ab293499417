"""Compare onnxruntime with torch, on speech of lengths that cover every branch.

Shapes: B batch, T audio samples, M mel bands, F frames, N frames of a window.
"""

import numpy as np
import torch

from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import evaluation_windows
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.log_mel import log_mel
from tune_encoder.data.pack import Pack
from tune_encoder.data.scores import Styles
from tune_encoder.data.synthesis import LATENT_SIZE, synthesize, voice_of
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE, Array
from tune_encoder.errors import StorageError
from tune_encoder.model.encoder import Encoder
from tune_encoder.model.onnx.session import (
    AUDIO_ENCODER,
    OUTPUTS,
    VOICE_ENCODER,
    OnnxSession,
    load_onnx,
)
from tune_encoder.model.onnx.voice_graph import MEL
from tune_encoder.model.prediction import predict_voice

MEL_TOLERANCE = 1e-3  # of a natural logarithm of power: 0.004 dB
TOLERANCE = 1e-4  # of an element of a style; the standard deviation between voices is 0.02
# From audio on, the rounding of the features passes through the encoder. One that tells few voices
# apart very well, trained on ten real ones, made 1.3e-4 of it.
VOICE_TOLERANCE = 1e-3
PARTS = ("ttl", "dp")  # of a VoiceStyle, in the order of the outputs
SPEECH_S = 12.0  # longer than most recordings


def check_audio_encoder(session: OnnxSession, encoder: Encoder, config: TrainConfig) -> None:
    """Run both on one frame, a few frames, a training window, and a long odd length.

    Raises:
        StorageError: if an element of a style differs by more than 1e-4.
    """
    mel = log_mel(torch.from_numpy(synthetic_speech(config.sample_rate)), config)  # (M, F)
    N = crop_frames(config)
    for B, n_frames in ((1, 1), (3, 2), (2, 7), (1, N), (2, N + 1), (1, mel.shape[1])):
        features = torch.stack([mel[:, :n_frames] + level for level in range(B)])
        with torch.no_grad():
            expected = [style[:, None].numpy() for style in encoder(features)]
        actual = session.run(features.numpy())
        _compare(AUDIO_ENCODER, f"{B} x {n_frames} frames", actual, expected, TOLERANCE)


def check_voice_encoder(session: OnnxSession, encoder: Encoder, config: TrainConfig) -> None:
    """Run both on recordings shorter than, equal to, slightly longer than and of several windows.

    Raises:
        StorageError: if an element of a style differs by more than 1e-3.
    """
    voice = synthetic_speech(config.sample_rate)
    window = round(config.crop_seconds * config.sample_rate)
    lengths = (config.sample_rate, window, window + 1, round(2.345 * window), 10 * window + 7)
    for T in (*lengths, voice.size):
        clips = np.stack([voice[:T], voice[-T:]])
        styles = [predict_voice(encoder, config, clip) for clip in clips]
        expected = [np.stack([getattr(style, part) for style in styles])[:, None] for part in PARTS]
        what = f"2 x {clips.shape[1]} samples"
        _compare(VOICE_ENCODER, what, session.run(clips), expected, VOICE_TOLERANCE)


def check_front_end(voice_encoder: bytes, config: TrainConfig) -> None:
    """Compare the features computed inside a voice encoder with those of training.

    Raises:
        StorageError: if one differs by more than 1e-3.
    """
    import onnx

    model = onnx.load_from_string(voice_encoder)
    model.graph.output.append(onnx.ValueInfoProto(name=MEL))
    runtime = load_onnx(model.SerializeToString(), VOICE_ENCODER).runtime
    voice = synthetic_speech(config.sample_rate)
    for T in (config.hop_length, config.n_fft // 2 + 1, config.sample_rate + 1, voice.size):
        audio = voice[None, :T]
        (actual,) = runtime.run([MEL], {"audio": audio})
        expected = log_mel(torch.from_numpy(audio), config).numpy()
        _check_close(
            VOICE_ENCODER, f"front end of 1 x {T} samples", actual, expected, MEL_TOLERANCE
        )


def _compare(
    name: str, length: str, actual: tuple[Array, Array], expected: list[Array], tolerance: float
) -> None:
    for part, actual_part, expected_part in zip(OUTPUTS, actual, expected, strict=True):
        _check_close(name, f"{part} of {length}", actual_part, expected_part, tolerance)


def _check_close(name: str, what: str, actual: Array, expected: Array, tolerance: float) -> None:
    same_shape = actual.shape == expected.shape
    difference = float(np.abs(actual - expected).max()) if same_shape else np.inf
    if not difference <= tolerance:
        raise StorageError(
            f"{name}: {what} differs from torch's by {difference:.1e}, more than {tolerance:g}; "
            "export without onnx, and report it with the model's config.yaml"
        )


def synthetic_speech(sample_rate: int) -> Array:
    """Synthesise 12 s of speech, (T,); at other rates than the demo's its pitch changes."""
    rng = np.random.default_rng(0)
    voice = voice_of(np.zeros(LATENT_SIZE))
    phrases = [synthesize(voice, rng) for _ in range(8)]
    spoken = np.concatenate(phrases)
    return np.resize(spoken, round(SPEECH_S * sample_rate))


def predict_pack_onnx(session: OnnxSession, pack: Pack, n_frames: int) -> Styles:
    """Predict the style of every clip: the mean over the windows that cover it.

    Args:
        session: An audio encoder, loaded by `model.onnx.session.open_onnx`.
        pack: The split.
        n_frames: Length of a window, `data.batches.crop_frames`.
    """
    ttl, dp = np.zeros((len(pack), *TTL_SHAPE)), np.zeros((len(pack), *DP_SHAPE))
    counts = np.zeros((len(pack), 1, 1))
    for features, owners in evaluation_windows(pack, n_frames):
        window_ttl, window_dp = session.run(features.numpy())
        np.add.at(ttl, owners, window_ttl[:, 0])
        np.add.at(dp, owners, window_dp[:, 0])
        np.add.at(counts, owners, 1)
    return Styles((ttl / counts).astype(np.float32), (dp / counts).astype(np.float32))
