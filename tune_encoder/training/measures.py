"""Quantities of an encoder beside its scores: its size, and how long it takes to encode a clip."""

import copy
import time
from collections.abc import Callable, Collection
from statistics import median

import numpy as np
import torch

from tune_encoder.config import CLONE_MS, PARAMETERS, TrainConfig
from tune_encoder.data.style_statistics import Statistics
from tune_encoder.experiment.epoch_row import as_row, score_of
from tune_encoder.model.encoder import Encoder, build_encoder, count_parameters
from tune_encoder.model.prediction import predict_voice
from tune_encoder.training.state import RunState

CLIP_SECONDS = 5.0
_WARM_UPS, _TIMES = 2, 9  # the first two take longer; the median of an odd number was measured


def measure_encoder(state: RunState, wanted: Collection[str]) -> dict[str, float]:
    """Return the wanted quantities of a run's encoder, measured once in a run.

    Args:
        state: The run.
        wanted: `PARAMETERS`, the number of trainable parameters; `CLONE_MS`, the milliseconds to
            encode a clip of `CLIP_SECONDS` on one thread of the CPU.
    """
    known = state.history[-1] if state.history else as_row({})
    return {
        name: score_of(known, name)
        if name in known
        else _MEASURES[name](state.encoder, state.config)
        for name in wanted
    }


def _clone_ms(encoder: Encoder, config: TrainConfig) -> float:
    encoder = copy.deepcopy(encoder).cpu().eval()
    n_samples = int(CLIP_SECONDS * config.sample_rate)
    audio = np.random.default_rng(0).normal(scale=0.1, size=n_samples).astype(np.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = [
            _seconds(lambda: predict_voice(encoder, config, audio))
            for _ in range(_WARM_UPS + _TIMES)
        ]
    finally:
        torch.set_num_threads(threads)
    return 1000 * median(seconds[_WARM_UPS:])


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


_MEASURES: dict[str, Callable[[Encoder, TrainConfig], float]] = {
    PARAMETERS: lambda encoder, config: count_parameters(encoder),
    CLONE_MS: _clone_ms,
}


def parameters_of(config: TrainConfig, statistics: Statistics) -> int:
    """Return the number of trainable parameters of a config's network, which is not made."""
    with torch.device("meta"):
        return count_parameters(build_encoder(config, statistics))
