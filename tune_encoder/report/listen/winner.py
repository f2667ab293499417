"""The listening test of a search's winner, on voices that it was not trained on."""

from collections.abc import Sequence
from pathlib import Path

from tune_encoder.config import ListenSettings
from tune_encoder.data.audio import to_voice
from tune_encoder.data.audio_file import Recording
from tune_encoder.data.quality import measure_quality
from tune_encoder.data.samples import read_sample
from tune_encoder.data.voice_bank import bank_of_clips
from tune_encoder.data.voice_style import VoiceStyle
from tune_encoder.errors import DataError
from tune_encoder.model.clone import Clone
from tune_encoder.report.clips import sample_files
from tune_encoder.report.facts import Facts
from tune_encoder.report.listen.card import Card, make_card
from tune_encoder.report.listen.hearing import Heard, Listener, open_listener
from tune_encoder.report.winner import Winner
from tune_encoder.speech.engine import downloaded_model


def winner_cards(facts: Facts, winner: Winner) -> tuple[list[Card], list[str]]:
    """Speak in the predicted styles of the best, the middle and the worst voice.

    Returns:
        A card of each voice, and why others of them are left out: their clip cannot be used, or
        styles are of another version than the model's.

    Raises:
        ConfigError: if a package is missing.
        StorageError: if the recordings or Supertonic's model are missing.
    """
    wanted = facts.space.report
    files = sample_files(facts, winner)
    folder = downloaded_model(wanted.model, wanted.folder)
    train = winner.data.train
    bank = bank_of_clips(train.voices, train.styles)
    listener = open_listener(wanted.model, folder, ListenSettings(), bank=bank)
    cards, notes = [], []
    for number, voice in enumerate(_chosen(list(winner.voices()))):
        try:
            heard = _heard(winner, voice, files, listener)
            cards.append(make_card(heard, listener, f"heard{number}"))
        except DataError as error:
            notes.append(f"Left out: {error}")
    return cards, notes


def _chosen(ranked: Sequence[str]) -> list[str]:
    """The best, the middle and the worst of ranked voices, none twice."""
    places = sorted({0, len(ranked) // 2, len(ranked) - 1})
    return [ranked[place] for place in places]


def _heard(winner: Winner, voice: str, files: Sequence[Path], listener: Listener) -> Heard:
    """The first clip of a voice beside the speech in the style predicted of it."""
    i = winner.pack.voices.index(voice)
    sample, predicted = read_sample(files[i]), winner.evaluation.predicted
    rate = sample.sample_rate or winner.config.sample_rate
    recording = Recording(Path(voice), sample.audio[:, None], rate)
    original = to_voice(recording, listener.ear.sample_rate)
    clone = Clone(
        recording.path,
        Path(),
        VoiceStyle(predicted.ttl[i], predicted.dp[i]).normalized(),
        measure_quality(recording),
        original.size / listener.ear.sample_rate,
        [],
    )
    return listener.compare(clone, original)
