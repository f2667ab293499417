"""A stand-in for Supertonic's models: small, fast, and with a voice that an encoder can hear.

The files, names, inputs and outputs are those that the package `supertonic` loads. A style's
projections on a few fixed axes set pitch, vocal tract, brightness and breath (style_ttl) and the
tempo (style_dp); the text sets vowels, pauses and length; the noise that is denoised roughens
pitch and formants a little.

Shapes: B batch, T characters, L latent frames, K axes; a latent frame holds 6 frames of 24 channels
and lasts 3072 samples.
"""

import json

import numpy as np
import onnx
from onnx import numpy_helper, parser

from tune_encoder.data.voice_style import (
    DP_SHAPE,
    TTL_SHAPE,
    VoiceStyle,
    unit_rows,
    write_voice_style,
)

SAMPLE_RATE = 44100
PRESETS = ("F1", "F2", "F3", "F4", "F5", "M1", "M2", "M3", "M4", "M5")
UNSUPPORTED = "\u2318"  # a character that the models do not know
SECONDS_PER_CHARACTER = 0.07

_TTL_AXES, _DP_AXES = 6, 3
_TTL_STD, _DP_STD = 0.016, 0.023  # of an element between voices, as between real presets
_OWN_SHARE = 0.2  # of that, what no axis explains: ten presets span nine dimensions
_N_IDS = 97
_N_UNICODE = 2**16
_CONFIG = {
    "tts_version": "stand-in",
    "ae": {"sample_rate": SAMPLE_RATE, "base_chunk_size": 512},
    "ttl": {"chunk_compress_factor": 6, "latent_dim": 24},
}


def write_stand_in(folder, version=0, presets=PRESETS, unsupported=UNSUPPORTED, **changed):
    """Write the models and presets of one Supertonic version; return the folder.

    `changed` are constants of the graphs, such as `level`, to make models that speak badly.
    """
    (folder / "onnx").mkdir(parents=True)
    (folder / "voice_styles").mkdir()
    _write_json(folder / "onnx" / "tts.json", _CONFIG)
    _write_json(folder / "onnx" / "unicode_indexer.json", _indexer(unsupported))
    for name, (graph, constants) in _graphs(_Axes(version)).items():
        own = {each: _floats(changed[each]) for each in constants.keys() & changed.keys()}
        _write_graph(folder / "onnx" / f"{name}.onnx", graph, {**constants, **own})
    for name, style in preset_styles(version, presets).items():
        write_voice_style(folder / "voice_styles" / f"{name}.json", style, {})
    return folder


def preset_styles(version=0, names=PRESETS):
    """Fabricated presets; men speak lower and from a longer vocal tract."""
    axes, rng = _Axes(version), np.random.default_rng([version, 2])
    styles = {}
    for name in names:
        ttl, dp = rng.standard_normal(_TTL_AXES), rng.standard_normal(_DP_AXES)
        ttl[:2] += 1.0 if name.startswith("F") else -1.0
        own = (rng.standard_normal(shape) for shape in (TTL_SHAPE, DP_SHAPE))
        styles[name] = axes.style(ttl, dp, *own)
    return styles


class _Axes:
    """Where the styles of a version lie, and the axes on which they are heard."""

    def __init__(self, version):
        rng = np.random.default_rng([version, 1])
        self.ttl_mean = unit_rows(rng.standard_normal(TTL_SHAPE))
        self.dp_mean = unit_rows(rng.standard_normal((1, DP_SHAPE[1])).repeat(DP_SHAPE[0], 0))
        self.ttl = _orthogonal(rng.standard_normal((_TTL_AXES, *TTL_SHAPE)), self.ttl_mean)
        dp = rng.standard_normal((_DP_AXES, 1, DP_SHAPE[1])).repeat(DP_SHAPE[0], 1)
        self.dp = _orthogonal(dp, self.dp_mean)

    def style(self, ttl, dp, own_ttl, own_dp):
        """The style of coordinates (K,) on the axes, with a residue of its own."""
        ttl_scale, dp_scale = (
            std * np.sqrt(np.prod(shape) / K)
            for std, shape, K in ((_TTL_STD, TTL_SHAPE, _TTL_AXES), (_DP_STD, DP_SHAPE, _DP_AXES))
        )
        return VoiceStyle(
            self.ttl_mean + ttl_scale * np.tensordot(ttl, self.ttl, 1) + _rest(_TTL_STD, own_ttl),
            self.dp_mean + dp_scale * np.tensordot(dp, self.dp, 1) + _rest(_DP_STD, own_dp),
        ).normalized()

    def projection(self, name):
        """The matrix (rows x width, K) that gives a style's coordinates, and what to subtract."""
        shape, std = (TTL_SHAPE, _TTL_STD) if name == "ttl" else (DP_SHAPE, _DP_STD)
        axes = getattr(self, name).reshape(-1, np.prod(shape))
        matrix = axes.T / (std * np.sqrt(np.prod(shape) / len(axes)))
        offset = getattr(self, f"{name}_mean").reshape(1, -1) @ matrix
        return matrix.astype(np.float32), offset.astype(np.float32)


def _rest(std, own):
    return _OWN_SHARE * std * own


def _orthogonal(axes, mean):
    """Axes (K, rows, width) of norm 1 that change no row's length to first order."""
    axes = axes - (axes * mean).sum(-1, keepdims=True) * mean
    flat, _ = np.linalg.qr(axes.reshape(len(axes), -1).T)
    return flat.T.reshape(axes.shape)


def _write_json(path, content):
    path.write_text(json.dumps(content))


def _indexer(unsupported):
    """Character to id, -1 for what the models do not know."""
    ids = [code % _N_IDS for code in range(_N_UNICODE)]
    for character in unsupported:
        ids[ord(character)] = -1
    return ids


# --- the four graphs -----------------------------------------------------------------------------

_DURATION = """
<ir_version: 8, opset_import: ["" : 17]>
duration_predictor (int64[B, T] text_ids, float[B, 8, 16] style_dp, float[B, 1, T] text_mask)
  => (float[B] duration) {
  flat = Flatten(style_dp)
  projected = MatMul(flat, dp_axes)
  coordinates = Sub(projected, dp_offset)
  log_tempo = MatMul(coordinates, tempo)
  factor = Exp(log_tempo)
  characters = ReduceSum<keepdims = 0>(text_mask, text_axes)
  spoken = Mul(characters, seconds_per_character)
  with_silence = Add(spoken, silence)
  duration = Mul(with_silence, factor)
}
"""

_TEXT_ENCODER = """
<ir_version: 8, opset_import: ["" : 17]>
text_encoder (int64[B, T] text_ids, float[B, 50, 256] style_ttl, float[B, 1, T] text_mask)
  => (float[B, 24, T] text_emb) {
  sounds = Gather(table, text_ids)
  turned = Transpose<perm = [0, 2, 1]>(sounds)
  heard = Mul(turned, text_mask)
  flat = Flatten(style_ttl)
  projected = MatMul(flat, ttl_axes)
  coordinates = Sub(projected, ttl_offset)
  voice = MatMul(coordinates, voice_channels)
  column = Unsqueeze(voice, last_axis)
  text_emb = Add(heard, column)
}
"""

_VECTOR_ESTIMATOR = """
<ir_version: 8, opset_import: ["" : 17]>
vector_estimator (float[B, 144, L] noisy_latent, float[B, 24, T] text_emb,
  float[B, 50, 256] style_ttl, float[B, 1, T] text_mask, float[B, 1, L] latent_mask,
  float[B] current_step, float[B] total_step) => (float[B, 144, L] denoised_latent) {
  latent_shape = Shape(latent_mask)
  L_length = Gather(latent_shape, two)
  frames = Mul(L_length, six)
  frame_numbers = Range(zero, frames, one)
  text_shape = Shape(text_mask)
  T_length = Gather(text_shape, two)
  scaled = Mul(frame_numbers, T_length)
  positions = Div(scaled, frames)
  aligned = Gather<axis = 2>(text_emb, positions)
  split = Reshape(aligned, split_shape)
  turned = Transpose<perm = [0, 1, 3, 2]>(split)
  target = Reshape(turned, latent_channels)
  grain = Mul(noisy_latent, grain_share)
  goal = Add(target, grain)
  way = Sub(goal, noisy_latent)
  steps_left = Sub(total_step, current_step)
  per_batch = Unsqueeze(steps_left, step_axes)
  stride = Div(way, per_batch)
  moved = Add(noisy_latent, stride)
  denoised_latent = Mul(moved, latent_mask)
}
"""

# Each pulse of the voice rings at four formants: a bell around the pulse, exp(k (cos phase - 1)),
# times a cosine at the formant (phase-aligned formant synthesis).
_VOCODER = """
<ir_version: 8, opset_import: ["" : 17]>
vocoder (float[B, 144, L] latent) => (float[B, S] wav_tts) {
  split = Reshape(latent, unsplit_shape)
  turned = Transpose<perm = [0, 1, 3, 2]>(split)
  channels = Reshape(turned, frame_channels)
  pitch_row, formant_rows, loudness_row, bell_row, breath_row, rest =
    Split<axis = 1>(channels, widths)
  pitch_octave = Exp(pitch_row)
  pitch_hz = Mul(pitch_octave, neutral_pitch)
  formant_octave = Exp(formant_rows)
  formants_hz = Mul(formant_octave, neutral_formants)
  ratios = Div(formants_hz, pitch_hz)
  loudness_floor = Relu(loudness_row)
  bell_width = Exp(bell_row)
  breath_gain = Exp(breath_row)
  breath_level = Mul(breath_gain, breath_scale)
  slow = Concat<axis = 1>(pitch_hz, ratios, loudness_floor, bell_width, breath_level)
  held = Unsqueeze(slow, last_axis)
  repeated = Expand(held, repeat_shape)
  fast = Reshape(repeated, sample_rows)
  pitch, ratio, loudness, bell, breath = Split<axis = 1>(fast, fast_widths)
  cycles_each = Mul(pitch, seconds_per_sample)
  cycles_wide = Cast<to = 11>(cycles_each)
  cycles = CumSum(cycles_wide, last_axis_scalar)
  whole = Round(cycles)
  fraction_wide = Sub(cycles, whole)
  fraction = Cast<to = 1>(fraction_wide)
  phase = Mul(fraction, two_pi)
  cosine = Cos(phase)
  dip = Sub(cosine, unit)
  sharpness = Mul(bell, bells)
  exponent = Mul(sharpness, dip)
  bells_now = Exp(exponent)
  ringing_phase = Mul(ratio, phase)
  ringing = Cos(ringing_phase)
  pulses = Mul(ringing, bells_now)
  weighted = Mul(pulses, gains)
  voiced = ReduceSum<keepdims = 1>(weighted, channel_axis)
  hash_phase = Mul(cycles_wide, hash_factor)
  hash_cycles = CumSum(hash_phase, last_axis_scalar)
  hash_square = Mul(hash_cycles, hash_cycles)
  hash_whole = Floor(hash_square)
  hash_rest = Sub(hash_square, hash_whole)
  hiss_wide = Sub(hash_rest, half_wide)
  hiss = Cast<to = 1>(hiss_wide)
  breathing = Mul(hiss, breath)
  source = Add(voiced, breathing)
  spoken = Mul(source, loudness)
  scaled = Mul(spoken, level)
  wav_tts = Squeeze(scaled, channel_axis)
}
"""


def _graphs(axes):
    """The text and the constants of each graph."""
    ttl_axes, ttl_offset = axes.projection("ttl")
    dp_axes, dp_offset = axes.projection("dp")
    ttl = {"ttl_axes": ttl_axes, "ttl_offset": ttl_offset}
    return {
        "duration_predictor": (
            _DURATION,
            {
                "dp_axes": dp_axes,
                "dp_offset": dp_offset,
                "tempo": _floats([0.12, 0.06, 0.03]),
                "seconds_per_character": _floats(SECONDS_PER_CHARACTER),
                "silence": _floats(0.2),
                "text_axes": _ints([1, 2]),
            },
        ),
        "text_encoder": (
            _TEXT_ENCODER,
            {
                **ttl,
                "table": _sounds(),
                "voice_channels": _voice_channels(),
                "last_axis": _ints([2]),
            },
        ),
        "vector_estimator": (_VECTOR_ESTIMATOR, _estimator_constants()),
        "vocoder": (_VOCODER, _vocoder_constants()),
    }


# Channels of a frame: log pitch, four log formants, loudness, log sharpness of the bells, log
# breath, and 16 that are not heard.
_PITCH, _FORMANTS, _LOUDNESS, _BELL, _BREATH = 0, slice(1, 5), 5, 6, 7


def _sounds():
    """What each id sounds like (ids, 24); spaces and marks are silent."""
    table = np.zeros((_N_IDS, 24))
    rng = np.random.default_rng(7)
    table[:, _PITCH] = rng.normal(0, 0.08, _N_IDS)
    table[:, _FORMANTS] = rng.normal(0, (0.35, 0.25, 0.05, 0.02), (_N_IDS, 4))
    table[:, _LOUDNESS] = rng.uniform(0.3, 1.0, _N_IDS)
    table[
        [ord(mark) for mark in " .,!?;:'-<>/"], _LOUDNESS
    ] = -0.1  # below 0, so that no noise lifts it above
    return table.astype(np.float32)


def _voice_channels():
    """How the coordinates of style_ttl change each channel (K, 24)."""
    channels = np.zeros((_TTL_AXES, 24))
    channels[0, _PITCH] = 0.22
    channels[1, _FORMANTS] = 0.06
    channels[2, _BELL] = 0.3
    channels[3, 3] = 0.06
    channels[4, _BREATH] = 0.6
    channels[5, 4] = 0.05
    return channels.astype(np.float32)


def _estimator_constants():
    return {
        "zero": np.int64(0),
        "one": np.int64(1),
        "two": np.int64(2),
        "six": np.int64(6),
        "split_shape": _ints([0, 24, -1, 6]),
        "latent_channels": _ints([0, 144, -1]),
        "grain_share": _floats(0.02),
        "step_axes": _ints([1, 2]),
    }


def _vocoder_constants():
    return {
        "unsplit_shape": _ints([0, 24, 6, -1]),
        "frame_channels": _ints([0, 24, -1]),
        "widths": _ints([1, 4, 1, 1, 1, 16]),
        "neutral_pitch": _floats(150.0),
        "neutral_formants": _floats([[500], [1500], [2500], [3500]]),
        "breath_scale": _floats(0.1),
        "last_axis": _ints([3]),
        "last_axis_scalar": np.int64(2),
        "repeat_shape": _ints([1, 1, 1, 512]),
        "sample_rows": _ints([0, 8, -1]),
        "fast_widths": _ints([1, 4, 1, 1, 1]),
        "seconds_per_sample": _floats(1 / SAMPLE_RATE),
        "two_pi": _floats(2 * np.pi),
        "unit": _floats(1.0),
        "bells": _floats([[2.0], [4.0], [5.0], [6.0]]),
        "gains": _floats([[1.0], [0.6], [0.35], [0.25]]),
        "channel_axis": _ints([1]),
        "hash_factor": np.float64(7919.1234),
        "half_wide": np.float64(0.5),
        "level": _floats(0.2),
    }


def _floats(values):
    return np.array(values, dtype=np.float32)


def _ints(values):
    return np.array(values, dtype=np.int64)


def _write_graph(path, text, constants):
    model = parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
