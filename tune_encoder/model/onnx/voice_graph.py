"""The graph from a recording to its style: front end and windows, the encoder, the mean.

The parts around the encoder are written in ONNX's text format, because torch's exporter would take
several seconds more. `data.log_mel.log_mel` and `data.batches.covering_windows` compute the same in
torch and numpy; every file is compared with them before it is written.

Shapes: B clips, T audio samples, K frequency bins, M mel bands, F frames, W windows of a clip,
N frames of a window.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import FrontendSettings, TrainConfig
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.mel import MIN_RMS, POWER_FLOOR, TARGET_RMS, triangular_filters
from tune_encoder.data.voice_style import Array
from tune_encoder.model.onnx.encoder_graph import INPUT, IR_VERSION, OPSET
from tune_encoder.model.onnx.session import OUTPUTS

_HEAD = f'<ir_version: {IR_VERSION}, opset_import: ["": {OPSET}]>'
MEL = "mel"  # the features, by their name in the text below

_HEARD = {
    True: "offset = ReduceMean <keepdims = 1> (audio, axis_1)\n    heard = Sub (audio, offset)",
    False: "heard = Identity (audio)",
}
"""The audio by the setting `remove_dc`."""

_FRONT = """
front (float[batch, samples] audio) => (float[windows, bands, frames] windows, int64[1] n_clips)
{
    HEARD
    squares = Mul (heard, heard)
    mean_square = ReduceMean <keepdims = 1> (squares, axis_1)
    rms = Sqrt (mean_square)
    audible_rms = Max (rms, quietest_rms)
    gain = Div (level, audible_rms)
    levelled = Mul (heard, gain)

    padded = Pad (levelled, margins)
    signal = Unsqueeze (padded, axis_1)
    parts = Conv <strides = [HOP_LENGTH]> (signal, waves)
    part_squares = Mul (parts, parts)
    real, imaginary = Split <axis = 1, num_outputs = 2> (part_squares)
    power = Add (real, imaginary)
    bands = MatMul (mel_filters, power)
    floored = Max (bands, power_floor)
    mel = Log (floored)

    n_clips = Shape <start = 0, end = 1> (mel)
    n_frames = Shape <start = 2, end = 3> (mel)
    almost = Add (n_frames, length_less_1)
    n_windows = Div (almost, length)
    n_windows_scalar = Squeeze (n_windows)
    numbers = Range (zero, n_windows_scalar, one)
    over = Sub (n_frames, length)
    last_start = Max (over, zero)
    n_gaps = Sub (n_windows, one)
    n_gaps_or_1 = Max (n_gaps, one)
    last_exact = Cast <to = DOUBLE> (last_start)
    gaps_exact = Cast <to = DOUBLE> (n_gaps_or_1)
    numbers_exact = Cast <to = DOUBLE> (numbers)
    step = Div (last_exact, gaps_exact)
    starts_exact = Mul (numbers_exact, step)
    starts_rounded = Round (starts_exact)
    starts = Cast <to = INT64> (starts_rounded)
    starts_column = Unsqueeze (starts, axis_1)
    chosen = Add (starts_column, offsets)
    chosen_again = Mod (chosen, n_frames)
    cut = Gather <axis = 2> (mel, chosen_again)
    by_window = Transpose <perm = [0, 2, 1, 3]> (cut)
    windows = Reshape (by_window, window_shape)
}"""
"""(B, T) to (B W, M, N). A clip shorter than a window is repeated until it fills it. The pack and
torch round features to float16, which does not affect styles, and which some runtimes lack."""

_MEAN = """
mean (int64[1] n, float[windows, 1, 50, 256] ttl, float[windows, 1, 8, 16] dp)
    => (float[batch, 1, 50, 256] style_ttl, float[batch, 1, 8, 16] style_dp)
    <int64[1] window_axis = {1}, int64[1] row_axis = {3},
     int64[3] ttl_shape = {-1, 50, 256}, int64[3] dp_shape = {-1, 8, 16}>
{
    ttl_by_clip = Concat <axis = 0> (n, ttl_shape)
    ttl_windows = Reshape (ttl, ttl_by_clip)
    ttl_mean = ReduceMean <keepdims = 1> (ttl_windows, window_axis)
    ttl_norms = ReduceL2 <keepdims = 1> (ttl_mean, row_axis)
    style_ttl = Div (ttl_mean, ttl_norms)
    dp_by_clip = Concat <axis = 0> (n, dp_shape)
    dp_windows = Reshape (dp, dp_by_clip)
    dp_mean = ReduceMean <keepdims = 1> (dp_windows, window_axis)
    dp_norms = ReduceL2 <keepdims = 1> (dp_mean, row_axis)
    style_dp = Div (dp_mean, dp_norms)
}"""
"""(B W, 1, 50, 256) to (B, 1, 50, 256), the mean over windows with rows of norm 1."""


def voice_graph(encoder: Any, config: TrainConfig) -> Any:
    """Return the `onnx.ModelProto` from (B, T) to (B, 1, 50, 256) and (B, 1, 8, 16).

    Args:
        encoder: The graph from `encoder_graph`.
        config: The settings of the encoder.
    """
    from onnx import compose

    middle = compose.add_prefix(encoder, "encoder/")
    mean = compose.add_prefix(_parsed(_HEAD + _MEAN), "mean/", rename_outputs=False)
    to_encoder = [("windows", f"encoder/{INPUT}")]
    joined = compose.merge_models(_front_graph(config), middle, to_encoder)
    ends = ["n_clips", *(f"encoder/{name}" for name in OUTPUTS)]
    starts = [f"mean/{name}" for name in ("n", "ttl", "dp")]
    graph = compose.merge_models(joined, mean, list(zip(ends, starts, strict=True)))
    del graph.opset_import[1:]  # merging adds the same operator set once per part
    return graph


def _front_graph(config: TrainConfig) -> Any:
    from onnx import TensorProto, numpy_helper

    numbers = {name: TensorProto.DataType.Value(name) for name in _TYPES}
    text = _HEAD + _FRONT.replace("HEARD", _HEARD[config.remove_dc])
    for name, number in {"HOP_LENGTH": config.hop_length, **numbers}.items():
        text = text.replace(f"= {name}>", f"= {number}>").replace(f"[{name}]", f"[{number}]")
    model = _parsed(text)
    for name, value in _constants(config).items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def _parsed(text: str) -> Any:
    from onnx import parser

    model = parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]  # the text names only values
    return model


_TYPES = ("DOUBLE", "INT64")


def _constants(config: TrainConfig) -> dict[str, NDArray[np.generic]]:
    """Return the constants of the front end's graph."""
    margin, length = config.n_fft // 2, crop_frames(config)
    filters = triangular_filters(config.sample_rate, config.n_fft, config.n_mels)
    graph = {
        "axis_1": [1],
        "margins": [0, margin, 0, margin],
        "length": [length],
        "length_less_1": [length - 1],
        "zero": 0,
        "one": 1,
        "offsets": range(length),
        "window_shape": [-1, config.n_mels, length],
    }
    real = {"level": TARGET_RMS, "quietest_rms": MIN_RMS, "power_floor": POWER_FLOOR}
    return {
        "mel_filters": filters,
        "waves": windowed_dft(config),
        **{name: np.array(value, dtype=np.int64) for name, value in graph.items()},
        **{name: np.array(value, dtype=np.float32) for name, value in real.items()},
    }


def windowed_dft(settings: FrontendSettings) -> Array:
    """Return Hann-windowed cosines and sines, which compute the DFT as a convolution.

    ONNX has an operator for it, but if n_fft is not a power of 2 onnxruntime's is wrong by up to
    0.1 in the logarithm.

    Returns:
        (2 K, 1, n_fft)
    """
    n_fft = settings.n_fft
    time, bins = np.arange(n_fft), np.arange(n_fft // 2 + 1)
    phase = 2 * np.pi / n_fft * (bins[:, None] * time % n_fft)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi / n_fft * time)  # periodic, like torch's
    waves = np.concatenate([np.cos(phase), np.sin(phase)]) * hann
    return np.asarray(waves[:, None], dtype=np.float32)
