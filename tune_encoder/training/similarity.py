"""Speaker similarity of predicted voices: `val_similarity`, the metric of the ear.

A few validation voices speak the same sentences twice, in the style that the encoder predicts and
in the true one, and a speaker encoder hears how alike the two are: 1 is the same, and two strangers
have far more than 0. How far a style's numbers are from the true ones need not tell that: of
encoders for Supertonic, the one with the least error did not sound most alike.

Source of that: github.com/maxfridbe/vibe_supertonic_voice_cloner.

Shapes: N clips.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import SIMILARITY, ListenSettings, SimilaritySettings
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.folds import subset_pack
from tune_encoder.data.pack import Pack
from tune_encoder.data.scores import Styles
from tune_encoder.data.voice_style import VoiceStyle
from tune_encoder.errors import DataError
from tune_encoder.experiment.epoch_row import as_row, score_of
from tune_encoder.model.prediction import predict_pack
from tune_encoder.space.listening import Listening
from tune_encoder.speech.ear import Ear, open_ear, usual_sentences
from tune_encoder.speech.engine import downloaded_model
from tune_encoder.speech.speaker import similarity
from tune_encoder.training.state import RunState, TrainState

HOW = ListenSettings()  # English, which every model of Supertonic speaks, and the encoder learned

Part = tuple[TrainState, Pack]
"""The state of an encoder, and the clips that it is validated on."""


def newest_similarity(
    state: RunState, parts: Sequence[Part], listening: Listening | None
) -> dict[str, float]:
    """Return `val_similarity` for a run's last row: measured if it is due, else the row before's.

    Args:
        state: The run; its last row says whether it is finished.
        parts: Its encoders, one of each fold.
        listening: When it is due, and how it is measured; None: never, and nothing is returned.

    Raises:
        ConfigError, StorageError: if the packages or models are not on this machine.
        DataError: if nothing is to be heard in a true style.
    """
    if listening is None:
        return {}
    row = state.history[-1]
    before = state.history[-2] if len(state.history) > 1 else as_row({})
    if row["finished"] or listening.is_due(row["epoch"]) or SIMILARITY not in before:
        return {SIMILARITY: measure_similarity(parts, listening.settings)}
    return {SIMILARITY: score_of(before, SIMILARITY)}


def measure_similarity(parts: Sequence[Part], settings: SimilaritySettings) -> float:
    """Return the mean similarity, from 0 to 1, over voices that are shared out over the parts.

    A voice in whose predicted style nothing is to be heard counts as 0.

    Raises:
        As `newest_similarity`.
    """
    ear = _open(settings)
    shares = share_out(settings.voices, len(parts))
    return fmean(
        each
        for (state, pack), n_voices in zip(parts, shares, strict=True)
        for each in _similarities(state, pack, n_voices, ear)
    )


@lru_cache(maxsize=1)  # a worker trains many trials, in which the same true styles are heard
def _open(settings: SimilaritySettings) -> Ear:
    folder = downloaded_model(settings.model, settings.folder)
    return open_ear(settings.model, folder, HOW, usual_sentences(HOW.lang, settings.sentences))


def share_out(count: int, n_parts: int) -> list[int]:
    """Divide a count into parts as evenly as can be; of few, not all go to the first parts."""
    ends = [count * part // n_parts for part in range(n_parts + 1)]
    return [end - start for start, end in pairwise(ends)]


def chosen_clips(pack: Pack, n_voices: int) -> NDArray[np.int64]:
    """Return the first clip of each of so many voices, spread evenly over them; at most all."""
    first = {voice: i for i, voice in reversed([*enumerate(pack.voices)])}
    clips = np.sort([*first.values()])
    count = min(n_voices, len(clips))
    return np.asarray(clips[np.linspace(0, len(clips) - 1, count).round().astype(int)])


def _similarities(state: TrainState, pack: Pack, n_voices: int, ear: Ear) -> Iterator[float]:
    if not n_voices:
        return
    chosen = subset_pack(pack, chosen_clips(pack, n_voices))
    device = state.model.mel_mean.device
    predicted = predict_pack(state.model, chosen, crop_frames(state.config), device)
    for voice, own, true in zip(chosen.voices, _each(predicted), _each(chosen.styles), strict=True):
        yield _similarity(ear, own, true, f"voice {voice}")


def _each(styles: Styles) -> list[VoiceStyle]:
    return [VoiceStyle(*parts).normalized() for parts in zip(styles.ttl, styles.dp, strict=True)]


def _similarity(ear: Ear, predicted: VoiceStyle, true: VoiceStyle, name: str) -> float:
    wanted = ear.speech(true, name)
    try:
        found = ear.speech(predicted, name, keep=False)
    except DataError:  # silence, or no number
        return 0.0
    return similarity(wanted.embedding, found.embedding)
