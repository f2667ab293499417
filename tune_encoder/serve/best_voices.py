"""The best and the worst voices of an exported model on test, heard in a process of its own."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from tune_encoder.errors import StorageError, TuneEncoderError, error_line
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.run import EXPORTED
from tune_encoder.serve.own_process import answer, ask

if TYPE_CHECKING:
    from tune_encoder.data.voice_bank import VoiceBank
    from tune_encoder.report.facts import Facts
    from tune_encoder.report.winner import Winner

MAX_KEPT = 4  # models, each with about a megabyte of clips


class HeardVoice(TypedDict):
    """A clip of a voice, and how well the model predicts it."""

    voice: str
    skill: str
    """Its name and value, over all clips of the voice."""
    nearest_skill: float
    """That of the training voice which is nearest to each prediction; the mean voice has 0."""
    nearest: str
    """The known voice nearest to the prediction of this clip, and its distance; or empty."""
    seconds: float
    spectrogram: str
    """A PNG as a data URL."""
    sound: str
    """An MP3 as a data URL; empty if there is no recording."""


class HeardVoices(TypedDict):
    """What is to be heard of a model."""

    split: str
    skill_name: str
    scores: list[tuple[str, float]]
    """Skill of the model and of the baselines, the highest first."""
    groups: list[tuple[str, list[HeardVoice]]]
    """The best voices, and the worst."""
    note: str
    """Why there is no audio, if there is none."""
    trained_on: str
    """What makes its scores others than those of its training, if anything does."""


class Hearing:
    """What is to be heard of models, once for all pages."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[object, HeardVoices]] = {}
        self._lock = asyncio.Lock()

    async def hear(self, experiment: Path) -> HeardVoices:
        """Return the best and the worst voices of an experiment's exported model.

        Raises:
            TuneEncoderError: if it cannot be evaluated.
        """
        async with self._lock:
            stamp = _stamp(experiment / EXPORTED)
            known = self._known.pop(experiment, None)
            if known is None or known[0] != stamp:
                found = await asyncio.to_thread(ask, __name__, str(experiment))
                known = (stamp, cast("HeardVoices", found))
            self._known[experiment] = known
            while len(self._known) > MAX_KEPT:
                del self._known[next(iter(self._known))]
            return known[1]


def _stamp(model: Path) -> object:
    """Return what changes when the model is exported again."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in model.iterdir())


def _hear(path: Path) -> HeardVoices:
    from tune_encoder.model.evaluate import evaluate_model, trained_on_val
    from tune_encoder.model.folder import load_model
    from tune_encoder.report.facts import read_facts
    from tune_encoder.report.winner import Winner, read_data

    facts = read_facts(Experiment(path))
    data, (model, config) = read_data(facts), load_model(path / EXPORTED)
    split = "val" if data.test is None else "test"
    if data.test is None and facts.space.validation.folds > 1:
        raise StorageError(
            "the data has no test split, and the model was trained on all other voices: there is "
            "none that it has not heard"
        )
    winner = Winner(split, data, config, evaluate_model(model, config, data, split))
    return _describe(facts, winner, trained_on_val(path / EXPORTED, data, split))


def _describe(facts: "Facts", winner: "Winner", trained_on: str) -> HeardVoices:
    from tune_encoder.report.clips import best_and_worst, sample_files

    note, files = "", []
    try:
        files = sample_files(facts, winner)
    except TuneEncoderError as error:
        note = error_line(error)
    scores = {name: each["skill"] for name, each in winner.evaluation.scores.items()}
    best, worst = best_and_worst(list(winner.voices()))
    hear = _Ear(facts, winner).hear
    return HeardVoices(
        split=winner.split,
        skill_name=winner.skill_name,
        scores=sorted(scores.items(), key=lambda each: -each[1]),
        groups=[(name, hear(each, files)) for name, each in (("Best", best), ("Worst", worst))],
        note=note,
        trained_on=trained_on,
    )


class _Ear:
    """What is known of all voices of a split."""

    def __init__(self, facts: "Facts", winner: "Winner") -> None:
        from tune_encoder.data.voice_bank import read_bank
        from tune_encoder.model.evaluate import nearest_voice, voice_skills

        self.winner = winner
        self.bank = read_bank(facts.experiment.path / EXPORTED)
        nearest = nearest_voice(winner.evaluation.predicted, winner.data.train.styles)
        self.nearest_skills = voice_skills(nearest, winner.pack, winner.data)

    def hear(self, voices: list[str], files: list[Path]) -> list[HeardVoice]:
        """Return the first clip of each voice."""
        from tune_encoder.report.clips import make_clips

        return [
            HeardVoice(
                voice=clip.voice,
                skill=clip.skill,
                nearest_skill=self.nearest_skills[clip.voice],
                nearest=_nearest(self.winner, clip.voice, self.bank),
                seconds=clip.seconds,
                spectrogram=clip.spectrogram,
                sound=clip.sound,
            )
            for clip in make_clips(self.winner, voices, files)
        ]


def _nearest(winner: "Winner", voice: str, bank: "VoiceBank | None") -> str:
    """Name the known voice nearest to what is predicted of the first clip of a voice."""
    from tune_encoder.data.voice_style import VoiceStyle
    from tune_encoder.model.clone.words import describe_nearest

    if bank is None:
        return ""
    i, predicted = winner.pack.voices.index(voice), winner.evaluation.predicted
    return describe_nearest(VoiceStyle(predicted.ttl[i], predicted.dp[i]), bank)


if __name__ == "__main__":
    answer(_hear, Path(sys.argv[1]))
