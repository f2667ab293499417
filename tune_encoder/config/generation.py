"""Settings of a data set that Supertonic speaks: its voices, its clips, its texts."""

from dataclasses import dataclass

from tune_encoder.config.training import setting
from tune_encoder.errors import ConfigError

SUPERTONIC_MODELS = ("supertonic", "supertonic-2", "supertonic-3")
DEFAULT_MODEL = "supertonic-3"
MIN_STEPS, MAX_STEPS = 5, 100  # speech of two steps is too rough to learn a voice from
MIN_SPEED, MAX_SPEED = 0.7, 2.0  # what Supertonic speaks


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Which voices speak, and how; each of them changes the data set."""

    voices: int = setting(
        500, "voices, the presets and your own styles among them", minimum=1, maximum=1_000_000
    )
    clips_per_voice: int = setting(2, "clips of each voice", minimum=1, maximum=10_000)
    langs: str = setting("", "languages, as en,ko; empty: all of the texts that the model speaks")
    steps: str = setting(
        "5,10", f"numbers of denoising steps, of which each clip draws one, {MIN_STEPS} or more"
    )
    speed: str = setting("0.9:1.15", "range of the speed, of which each clip draws one")
    seed: int = setting(0, "seed of the voices and clips", minimum=0, maximum=2**32 - 1)
    convex_share: float = setting(
        0.25, "share of the mixed voices that lie between two to four others", minimum=0, maximum=1
    )
    apart_share: float = setting(
        0.2,
        "share of the mixed voices whose timbre and rhythm are mixed apart",
        minimum=0,
        maximum=1,
    )
    spread: float = setting(
        1.3,
        "standard deviation of the other mixed voices, in that of the presets",
        minimum=0.1,
        maximum=4,
    )
    draws: int = setting(
        8,
        "draws of a clip before it is left out, if each is refused",
        minimum=1,
        maximum=1000,
    )

    def __post_init__(self) -> None:
        steps, speeds = self.step_choices, self.speed_range
        if not all(MIN_STEPS <= each <= MAX_STEPS for each in steps):
            raise ConfigError(
                f"steps is {self.steps!r}; each must be from {MIN_STEPS} to {MAX_STEPS}, since "
                "speech of fewer is too rough to learn a voice from"
            )
        if not MIN_SPEED <= speeds[0] <= speeds[1] <= MAX_SPEED:
            raise ConfigError(
                f"speed is {self.speed!r}; it must be a range from {MIN_SPEED} to {MAX_SPEED}, "
                "lower end first"
            )

    @property
    def step_choices(self) -> tuple[int, ...]:
        """The numbers of denoising steps."""
        try:
            return tuple(int(each) for each in self.steps.split(","))
        except ValueError as error:
            raise ConfigError(
                f"steps is {self.steps!r}; write whole numbers, such as 5,10"
            ) from error

    @property
    def speed_range(self) -> tuple[float, float]:
        """The least and the greatest speed."""
        least, colon, most = self.speed.partition(":")
        try:
            return float(least), float(most if colon else least)
        except ValueError as error:
            raise ConfigError(
                f"speed is {self.speed!r}; write a number, or a range such as 0.9:1.15"
            ) from error

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes that were asked for, each once; empty if none was."""
        return tuple(dict.fromkeys(code.strip() for code in self.langs.split(",") if code.strip()))
