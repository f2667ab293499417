"""Speaker similarity: how alike two voices are to a speaker encoder.

The encoder is the one of Resemblyzer (Apache-2.0), an LSTM trained on English speech to tell
speakers apart. Only its weights are used: the package itself needs webrtcvad, whose import fails
without an old setuptools. Its front end is computed here, as by Resemblyzer, but pauses are found
by their level.

Shapes: T audio samples, F frames, M mel bands, P partial utterances, E = 256 of an embedding.

Source: L. Wan et al., Generalized End-to-End Loss for Speaker Verification, 2018.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tune_encoder.data.audio import resample
from tune_encoder.data.mel import triangular_filters
from tune_encoder.errors import StorageError
from tune_encoder.speech.speaker_weights import read_weights
from tune_encoder.system.damage import refuse_damage

SAMPLE_RATE = 16000
PARTIAL_S = 1.6  # of a partial utterance; what is shorter is filled with silence
_N_FFT, _HOP, _N_MELS = 400, 160, 40
_HIDDEN, _LAYERS, _EMBEDDING = 256, 3, 256
_PARTIAL = 160  # frames of a partial utterance
_PARTIAL_STEP = 77  # frames between two, 1.3 a second
_COVERAGE = 0.75  # of the last partial utterance; one with less is left out
_MIN_DBFS = -30.0  # what is quieter is amplified to it
_PAUSE_FRAME = 480  # samples, 30 ms
_PAUSE_DB = -40.0  # relative to the loudest frame
_KEPT_PAUSE = 7  # frames, 0.2 s, of which a pause keeps as many at each end

Array = NDArray[np.float32]


class SpeakerEncoder:
    """Hears who speaks, and not what is said."""

    def __init__(self, network: "_Network") -> None:
        self._network = network.eval()

    def embedding(self, audio: Array, sample_rate: int) -> Array:
        """Return the embedding (E,) of speech (T,), of norm 1; it takes a second at least."""
        mel = _mel(_without_pauses(_amplified(resample(audio, sample_rate, SAMPLE_RATE))))
        starts = range(0, max(1, len(mel) - _PARTIAL + _PARTIAL_STEP), _PARTIAL_STEP)
        kept = [start for start in starts if len(mel) - start >= _COVERAGE * _PARTIAL] or [0]
        padded = np.pad(mel, ((0, kept[-1] + _PARTIAL), (0, 0)))
        partials = np.stack([padded[start : start + _PARTIAL] for start in kept])  # (P, F, M)
        with torch.no_grad():
            embeddings = self._network(torch.from_numpy(partials)).numpy()
        return _unit(embeddings.mean(axis=0))


def mean_embedding(embeddings: Sequence[Array]) -> Array:
    """Return the embedding (E,) of a voice from those of its clips, of norm 1."""
    return _unit(np.mean(embeddings, axis=0))


def similarity(one: Array, other: Array) -> float:
    """Return the cosine of two embeddings, from 0 to 1; two strangers have far more than 0."""
    return float(one @ other)


def open_speaker_encoder() -> SpeakerEncoder:
    """Load the weights that the package Resemblyzer brings; it is not imported.

    Raises:
        ConfigError: if it is not installed.
        StorageError: if its weights are not those of version 0.1.4.
    """
    path, content = read_weights()
    network = _Network()
    with refuse_damage(lambda why: StorageError(f"{path}: cannot be loaded ({why})")):
        file = io.BytesIO(content)
        state = torch.load(file, "cpu", weights_only=True)["model_state"]  # noqa: TID251
        wanted = network.state_dict().keys()
        network.load_state_dict({name: state[name] for name in wanted})
    return SpeakerEncoder(network)


class _Network(nn.Module):
    """Named as in the file of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_N_MELS, _HIDDEN, _LAYERS, batch_first=True)
        self.linear = nn.Linear(_HIDDEN, _EMBEDDING)

    def forward(self, partials: torch.Tensor) -> torch.Tensor:
        """Embeddings (P, E) of partials (P, F, M), each of norm 1."""
        _, (hidden, _) = self.lstm(partials)
        return nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)


def _amplified(audio: Array) -> Array:
    rms = float(np.sqrt(np.square(audio, dtype=np.float64).mean()))
    gain = max(1.0, 10 ** (_MIN_DBFS / 20) / max(rms, 1e-9))
    return np.asarray(audio * np.float32(gain))


def _without_pauses(audio: Array) -> Array:
    """Shorten each pause to 0.4 s, so that no partial utterance is silent."""
    frames = audio[: audio.size // _PAUSE_FRAME * _PAUSE_FRAME].reshape(-1, _PAUSE_FRAME)
    if len(frames) <= 2 * _KEPT_PAUSE:  # shorter than what a pause keeps
        return audio
    rms = np.sqrt(np.square(frames).mean(axis=1))
    active = rms >= rms.max() * 10 ** (_PAUSE_DB / 20)
    near = np.convolve(active, np.ones(2 * _KEPT_PAUSE + 1), "same") > 0
    return np.asarray(frames[near].reshape(-1))


def _mel(audio: Array) -> Array:
    """Power of mel bands (F, M); the level matters, and no logarithm is taken."""
    padded = np.pad(audio, _N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi / _N_FFT * np.arange(_N_FFT))
    power = np.square(np.abs(np.fft.rfft(frames * hann.astype(np.float32))))
    return np.asarray(power @ triangular_filters(SAMPLE_RATE, _N_FFT, _N_MELS).T, np.float32)


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
