"""What an ONNX file predicts for a packed split, to be scored as torch's predictions are.

Shapes: N clips, B windows of a batch.
"""

import numpy as np

from tune_encoder.data.batches import evaluation_windows
from tune_encoder.data.pack import Pack
from tune_encoder.metrics import Styles
from tune_encoder.onnx_session import OnnxSession
from tune_encoder.voice_style import DP_SHAPE, TTL_SHAPE


def predict_pack(session: OnnxSession, pack: Pack, n_frames: int) -> Styles:
    """Predict the style of every clip: the mean over the windows that cover it.

    Args:
        session: An audio encoder, opened by `onnx_session.open_onnx`.
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
