"""Write an encoder as ONNX files.

Shapes: B batch, M mel bands, F frames, T audio samples.
"""

import copy
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tune_encoder.config import TrainConfig
from tune_encoder.data.crops import crop_frames
from tune_encoder.model.encoder import Encoder
from tune_encoder.model.onnx.checking import (
    check_audio_encoder,
    check_front_end,
    check_voice_encoder,
)
from tune_encoder.model.onnx.encoder_graph import encoder_graph, without_exporter_output
from tune_encoder.model.onnx.session import (
    AUDIO_ENCODER,
    ONNX_FORMAT,
    VOICE_ENCODER,
    int8_name,
    load_onnx,
)
from tune_encoder.model.onnx.voice_graph import voice_graph
from tune_encoder.system.manifest import save_with_hash


def write_onnx(
    folder: Path, model: Encoder, config: TrainConfig, *, epoch: int, int8: bool = False
) -> list[str]:
    """Write the ONNX files of an encoder into a folder, each listed in its manifest.

    Each file is checked first: onnxruntime's output must match torch's to 1e-4,
    from audio on to 1e-3.

    Args:
        folder: The folder.
        model: The encoder, which is not changed.
        config: The settings it was trained with.
        epoch: Number of finished epochs, recorded in the manifest.
        int8: Whether to write quantised versions of both files too. They are only loaded once;
            measure their accuracy with `predict_pack_onnx` and `data.scores.score`.

    Returns:
        The names of the files.

    Raises:
        StorageError: if onnxruntime's output differs from torch's.
    """
    encoder = copy.deepcopy(model).cpu().eval()
    graph = encoder_graph(encoder, config)
    files = {
        AUDIO_ENCODER: _finalize(graph, config),
        VOICE_ENCODER: _finalize(voice_graph(graph, config), config),
    }
    check_front_end(files[VOICE_ENCODER], config)
    check_audio_encoder(load_onnx(files[AUDIO_ENCODER], AUDIO_ENCODER), encoder, config)
    check_voice_encoder(load_onnx(files[VOICE_ENCODER], VOICE_ENCODER), encoder, config)
    if int8:
        small = {int8_name(name): _quantize(content) for name, content in files.items()}
        for name, content in small.items():
            load_onnx(content, name)
        files |= small
    for name, content in files.items():
        save_with_hash(folder / name, content, epoch)
    return list(files)


def _finalize(graph: Any, config: TrainConfig) -> bytes:
    import onnx

    onnx.helper.set_model_props(graph, _metadata(config))
    onnx.checker.check_model(graph, full_check=True)
    content: bytes = graph.SerializeToString()
    return content


def _metadata(config: TrainConfig) -> dict[str, str]:
    """Return the metadata of the model and of the program that made it."""
    content = {
        "tune_encoder_onnx": ONNX_FORMAT,
        "tune_encoder_version": version("tune-encoder"),
        "sample_rate": config.sample_rate,
        "n_fft": config.n_fft,
        "hop_length": config.hop_length,
        "n_mels": config.n_mels,
        "remove_dc": config.remove_dc,
        "window_frames": crop_frames(config),
        "encoder_type": config.encoder_type,
    }
    return {name: str(value) for name, value in content.items()}


def _quantize(content: bytes) -> bytes:
    """Quantise the matrices of the encoder, most of its weights, to 8 bits.

    Only right operands of matrix products are quantised, not the mel filters, a left operand.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load_from_string(content)
    with tempfile.TemporaryDirectory() as folder, without_exporter_output():
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # without it products saturate on CPUs without VNNI
        )
        return path.read_bytes()
