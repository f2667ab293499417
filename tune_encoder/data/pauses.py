"""Cutting of long recordings at pauses, into pieces that are read one at a time.

A recording is read by blocks; what is kept of it is the power of each frame.

Shapes: T samples, C channels, F frames of 20 ms.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tune_encoder.data.audio import FRAME_S, MIN_DURATION_S, SILENCE_DB, frame_length
from tune_encoder.data.audio_file import Span, ends_early, open_stream
from tune_encoder.data.pairing import Clip, join_names
from tune_encoder.errors import DataError
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.files import check_regular
from tune_encoder.system.formats import count_noun

MAX_CLIP_S = 60.0  # longer recordings are cut; a clip of a corpus is rarely longer than 30 s
MIN_PIECE_S, MAX_PIECE_S = 5.0, 20.0  # a few sentences, as in LibriSpeech and LibriTTS
PAUSE_S = 0.3  # a pause between phrases lasts longer, a stop within a word is shorter
BLOCK_S = 10.0  # read at a time
LOUDEST = 1e6  # of a file of floats; the square of a damaged one could overflow
SPEECH_PERCENTILE = 99.5  # of frames, by power: a loud one that is no click; 18 s of an hour

Powers = NDArray[np.float32]


@dataclass
class CutClips:
    """Clips of which none is long."""

    clips: list[Clip] = field(default_factory=list)
    """Numbered anew; a piece has no text, since that of its recording is longer."""
    counts: dict[Path, int] = field(default_factory=dict)
    """Number of pieces of each long recording."""

    def describe(self) -> str:
        """Say what was cut; empty if nothing was."""
        if not self.counts:
            return ""
        verb = "was" if len(self.counts) == 1 else "were"
        return (
            f"{count_noun(len(self.counts), 'recording')} longer than {MAX_CLIP_S:g} s {verb} cut "
            f"at pauses into {count_noun(sum(self.counts.values()), 'piece')}: "
            f"{join_names([path.name for path in self.counts])}"
        )


def cut_long_clips(clips: Sequence[Clip]) -> CutClips:
    """Cut recordings that are longer than a minute into pieces; see `find_pieces`.

    A recording that cannot be read stays: importing it will say why.
    """
    cut, numbers = CutClips(), Counter[str]()
    for clip in progress_bar(clips, description="look for pauses", stays=False):
        for piece in _pieces_of(clip, cut):
            cut.clips.append(replace(piece, number=numbers[clip.voice]))
            numbers[clip.voice] += 1
    return cut


def _pieces_of(clip: Clip, cut: CutClips) -> list[Clip]:
    try:
        spans = find_pieces(clip.path)
    except DataError:
        return [clip]
    if not spans:
        return [clip]
    cut.counts[clip.path] = len(spans)
    return [replace(clip, span=span, text="") for span in spans]


def find_pieces(path: Path) -> list[Span]:
    """Return the pieces of a long recording that have sound, or nothing if it is short.

    Each lasts 5 to 20 s and begins and ends where it is quietest. Of a silent recording it is the
    first, so that reading it says that it is silent.

    Raises:
        DataError: naming the recording, if it cannot be read.
    """
    check_regular(path, "a recording")
    with open_stream(path) as file:
        if file.frames <= MAX_CLIP_S * file.samplerate:
            return []
        power, n_samples = _measure(file)
        is_truncated = ends_early(path, n_samples, file)
        rate, frame = file.samplerate, frame_length(file.samplerate)
    if n_samples <= MAX_CLIP_S * rate:  # although its header claims more
        return []
    edges = cut_points(power)
    loud = _loud_frames(power)
    bounds = [*pairwise(edges)]
    heard = [each for each in bounds if loud[slice(*each)].sum() * FRAME_S >= MIN_DURATION_S]
    pieces = [
        Span(start * frame, min(stop * frame, n_samples), rate, index, len(heard))
        for index, (start, stop) in enumerate(heard or bounds[:1])
    ]
    return [*pieces[:-1], replace(pieces[-1], is_truncated=is_truncated)]


def cut_points(power: Powers) -> list[int]:
    """Return where to cut, as frames: the first one, the quietest places, and the end.

    Args:
        power: Of each frame, (F,), at least two of the shortest pieces.
    """
    shortest, longest = round(MIN_PIECE_S / FRAME_S), round(MAX_PIECE_S / FRAME_S)
    n_pause = round(PAUSE_S / FRAME_S)
    around = np.convolve(power, np.full(n_pause, 1 / n_pause), mode="same")
    edges = [0]
    while (left := len(power) - edges[-1]) > longest:
        first = edges[-1] + shortest
        last = edges[-1] + min(longest, left - shortest)
        edges.append(first + int(around[first : last + 1].argmin()))
    return [*edges, len(power)]


def _measure(file: soundfile.SoundFile) -> tuple[Powers, int]:
    """Return the power (F,) of the frames of a file, and its number of samples."""
    powers, n_samples = [], 0
    for block in _blocks(file):
        powers.append(_frame_power(block, frame_length(file.samplerate)))
        n_samples += len(block)
    return np.concatenate(powers) if powers else np.zeros(0, np.float32), n_samples


def _blocks(file: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    """Yield (T, C) of whole frames, but for the last."""
    n_samples = round(BLOCK_S / FRAME_S) * frame_length(file.samplerate)
    while len(block := file.read(n_samples, dtype="float32", always_2d=True)):
        yield block


def _frame_power(block: NDArray[np.float32], frame: int) -> Powers:
    """Return the power (F,) of frames without their DC, of the channels together.

    What is not finite counts as silent: reading the piece will say it.
    """
    finite = np.nan_to_num(block, posinf=0, neginf=0).clip(-LOUDEST, LOUDEST)
    frames = np.pad(finite, ((0, -len(block) % frame), (0, 0)), mode="edge")
    return np.asarray(frames.reshape(-1, frame, block.shape[1]).var(axis=1).sum(axis=1))


def _loud_frames(power: Powers) -> NDArray[np.bool_]:
    loudest = np.percentile(power, SPEECH_PERCENTILE)
    return np.asarray((power > 0) & (power >= loudest * 10 ** (SILENCE_DB / 10)))
