"""The encoder as an ONNX graph, exported by torch.

Shapes: B batch, M mel bands, F frames.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tune_encoder.config import TrainConfig
from tune_encoder.data.crops import crop_frames
from tune_encoder.model.encoder import Encoder
from tune_encoder.model.onnx.session import OUTPUTS

OPSET = 18  # the oldest that torch's exporter writes, for the most runtimes
IR_VERSION = 10  # the version that goes with this opset
INPUT = "mel_spectrogram"


class AudioEncoder(nn.Module):
    """An encoder whose outputs have the leading axis of Supertonic's arrays."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, M, F) to (B, 1, 50, 256) and (B, 1, 8, 16)."""
        ttl, dp = self.encoder(features)
        return ttl[:, None], dp[:, None]


def encoder_graph(encoder: Encoder, config: TrainConfig) -> Any:
    """Return the `onnx.ModelProto` from (B, M, F) to (B, 1, 50, 256) and (B, 1, 8, 16).

    Args:
        encoder: In evaluation mode, on the CPU.
        config: The settings it was trained with.
    """
    example = torch.zeros(2, config.n_mels, crop_frames(config))
    any_length = {0: torch.export.Dim("batch", min=1), 2: torch.export.Dim("frames", min=1)}
    with without_exporter_output():
        program = torch.onnx.export(
            AudioEncoder(encoder).eval(),
            (example,),
            dynamo=True,  # the older exporter hard-codes the example's length in every attention
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=OUTPUTS,
            dynamic_shapes=(any_length,),
            verbose=False,
        )
    assert program is not None
    return _strip_metadata(program.model_proto)


def _strip_metadata(model: Any) -> Any:
    """Remove the metadata that the exporter adds to operations."""
    for node in model.graph.node:
        del node.metadata_props[:]  # source lines, and paths on this machine
    del model.graph.value_info[:]  # "batch" has another meaning in the merged graph
    model.ir_version = IR_VERSION
    return model


@contextmanager
def without_exporter_output() -> Iterator[None]:
    """Suppress warnings and logs of torch's exporter and onnxruntime."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
