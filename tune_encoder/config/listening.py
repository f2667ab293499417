"""Settings of a listening test: what is spoken in a style, and how."""

from dataclasses import dataclass

from tune_encoder.config.generation import (
    DEFAULT_MODEL,
    MAX_SPEED,
    MAX_STEPS,
    MIN_SPEED,
    SUPERTONIC_MODELS,
)
from tune_encoder.config.training import setting


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """How Supertonic speaks the sentences that are listened to."""

    lang: str = setting("en", "language of the sentences")
    steps: int = setting(8, "denoising steps of the speech", minimum=1, maximum=MAX_STEPS)
    speed: float = setting(1.05, "speed of the speech", minimum=MIN_SPEED, maximum=MAX_SPEED)
    seed: int = setting(0, "seed of the speech", minimum=0, maximum=2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What the report of a search has beside its figures."""

    listen: bool = setting(False, "speak with Supertonic in the styles that the winner predicts")
    model: str = setting(DEFAULT_MODEL, "model that speaks", choices=SUPERTONIC_MODELS)
    model_dir: str = setting(
        "", "folder of its files; empty: where Supertonic's package keeps them"
    )
