"""The ONNX files of a model, and the skill of its int8 version."""

from pathlib import Path

from tune_encoder.data.crops import crop_frames
from tune_encoder.data.pack import Pack, PackedData
from tune_encoder.data.scores import score
from tune_encoder.export.combining import Model
from tune_encoder.export.contents import OnnxContent
from tune_encoder.model.onnx.checking import predict_pack_onnx
from tune_encoder.model.onnx.session import AUDIO_ENCODER, int8_name, load_onnx
from tune_encoder.model.onnx.writing import write_onnx


def add_onnx(
    folder: Path, model: Model, data: PackedData, splits: dict[str, Pack], int8: bool
) -> OnnxContent:
    """Write a model's ONNX files, each compared with torch, and score the int8 version.

    Args:
        folder: The model folder.
        model: The model.
        data: Its data.
        splits: The splits it was not trained on.
        int8: Whether to write quantised versions of both files too.

    Returns:
        The names of the `files`, and with int8 its `int8_skill` on each split.

    Raises:
        StorageError: if onnxruntime's output differs from torch's.
    """
    epoch = model.members[0].row["epoch"]
    written: OnnxContent = {
        "files": write_onnx(folder, model.encoder, model.config, epoch=epoch, int8=int8)
    }
    if int8:
        name = int8_name(AUDIO_ENCODER)
        session = load_onnx((folder / name).read_bytes(), name)
        frames = crop_frames(model.config)
        predicted = {
            split: predict_pack_onnx(session, pack, frames) for split, pack in splits.items()
        }
        written["int8_skill"] = {
            split: score(styles, splits[split].styles, data.statistics)["skill"]
            for split, styles in predicted.items()
        }
    return written
