"""Settings of a listening test: what is spoken in a style, and how."""

from dataclasses import dataclass
from pathlib import Path

from tune_encoder.config.generation import (
    DEFAULT_MODEL,
    MAX_SPEED,
    MAX_STEPS,
    MIN_SPEED,
    SUPERTONIC_MODELS,
)
from tune_encoder.config.training import setting

MAX_SENTENCES = 3  # of the package's in each language, that are long enough to hear a voice
SENTENCE_S = 3.5  # how long one of them is spoken, more or less


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """How Supertonic speaks the sentences that are listened to."""

    lang: str = setting("en", "language of the sentences")
    steps: int = setting(8, "denoising steps of the speech", minimum=1, maximum=MAX_STEPS)
    speed: float = setting(1.05, "speed of the speech", minimum=MIN_SPEED, maximum=MAX_SPEED)
    seed: int = setting(0, "seed of the speech", minimum=0, maximum=2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class SpeakingModel:
    """Which model of Supertonic speaks in a search, and where its files are."""

    model: str = setting(DEFAULT_MODEL, "model that speaks", choices=SUPERTONIC_MODELS)
    model_dir: str = setting(
        "", "folder of its files; empty: where Supertonic's package keeps them"
    )

    @property
    def folder(self) -> Path | None:
        """The folder of its files; None: where the package keeps them."""
        return Path(self.model_dir) if self.model_dir else None


@dataclass(frozen=True, kw_only=True)
class ReportSettings(SpeakingModel):
    """When the report of a search is written, and what it has beside its figures."""

    at_end: bool = setting(True, "write it when the search has ended")
    listen: bool = setting(False, "speak with Supertonic in the styles that the winner predicts")


@dataclass(frozen=True, kw_only=True)
class SimilaritySettings(SpeakingModel):
    """How `val_similarity` is measured, in a search that has a use for it."""

    every: int = setting(
        5,
        "epochs between two measurements; the first, the last and the scheduler's rungs are always "
        "measured; 0: only these",
        minimum=0,
        maximum=100_000,
    )
    voices: int = setting(4, "validation voices that are spoken", minimum=1, maximum=1000)
    sentences: int = setting(
        2, "sentences that are spoken in each style", minimum=1, maximum=MAX_SENTENCES
    )
