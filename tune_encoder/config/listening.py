"""Settings of a listening test: what is spoken in a style, and how."""

from dataclasses import dataclass

from tune_encoder.config.generation import MAX_SPEED, MAX_STEPS, MIN_SPEED
from tune_encoder.config.training import setting


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """How Supertonic speaks the sentences that are listened to."""

    lang: str = setting("en", "language of the sentences")
    steps: int = setting(8, "denoising steps of the speech", minimum=1, maximum=MAX_STEPS)
    speed: float = setting(1.05, "speed of the speech", minimum=MIN_SPEED, maximum=MAX_SPEED)
    seed: int = setting(0, "seed of the speech", minimum=0, maximum=2**32 - 1)
