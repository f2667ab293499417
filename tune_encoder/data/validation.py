"""What the trials of a search are scored on: the val split, or folds of whole voices.

The choice is made once, when a search starts, and is then stored with it.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from threadpoolctl import threadpool_limits

from tune_encoder.config import ResourceSettings, ValidationSettings
from tune_encoder.data.fold_scores import baselines_over_folds
from tune_encoder.data.folds import (
    FEW_VOICES,
    check_folds,
    count_voices,
    default_folds,
    open_folds,
)
from tune_encoder.data.pack import PackedData
from tune_encoder.data.score_words import KNOWN, NEW
from tune_encoder.errors import ConfigError
from tune_encoder.system.formats import count_noun


@dataclass(frozen=True)
class Validation:
    """What the trials of a search are scored on."""

    folds: int
    """Number of folds of voices; 1 is the val split."""
    description: str
    """For people, in one line."""
    where: str
    """What a score is on, such as "on val"."""
    data: PackedData

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Scores by name, there; over folds with standard errors, which take seconds once."""
        if self.folds == 1:
            return self.data.baselines
        assert self.data.folder is not None  # it is a whole data set
        return fold_baselines(self.data.folder, self.folds)

    @property
    def kind(self) -> str:
        """Whether the voices are new to the encoders that are scored on them; see `score_words`."""
        return NEW if self.folds > 1 else self.data.voice_kind("val")

    @property
    def settings(self) -> ValidationSettings:
        """The choice, as a search stores it."""
        return ValidationSettings(voices=self.folds)


def choose_validation(
    data: PackedData, asked: ValidationSettings, resources: ResourceSettings
) -> Validation:
    """Choose what the trials of a new search are scored on, if the space does not say.

    Raises:
        DataError: if there are too few voices for the folds asked for.
        ConfigError: if the folds would be trained in several processes.
    """
    alone = resources.processes_per_trial == 1
    folds = asked.voices or (default_folds(data) if alone else 1)
    if folds > 1:
        check_folds(data, folds)
        if not alone:
            raise ConfigError(
                f"resources.processes is {resources.processes_per_trial}, but {folds} folds of "
                "voices are trained in one process; set it to 1, or validation.voices to 1"
            )
    return validation_of(data, folds)


def validation_of(data: PackedData, folds: int) -> Validation:
    """Return what a search with this many folds is scored on."""
    where = "on val" if folds == 1 else f"over {folds} folds"
    return Validation(folds, describe_validation(data, folds), where, data)


@lru_cache(maxsize=1)  # a search prints them, then stores them
def fold_baselines(pack: Path, folds: int) -> dict[str, dict[str, float]]:
    """Return the scores of the baselines over the folds of a pack."""
    with threadpool_limits(1, "blas"):  # as in packing
        return baselines_over_folds(open_folds(pack, folds))


def describe_validation(data: PackedData, folds: int) -> str:
    """Say in one line what trials are scored on."""
    n_voices = count_voices(data)
    if folds == n_voices:
        return f"validation: each of {n_voices} voices is left out once ({folds} folds)"
    if folds > 1:
        return f"validation: {folds} folds of {n_voices} voices, each voice left out once"
    voices = count_noun(data.info["voices"]["val"], "voice")
    if data.voice_kind("val") == KNOWN:
        more = f"; new voices: --folds {min(10, n_voices)}" if n_voices > 2 else ""
        return f"validation: the val split, other clips of {voices} of train{more}"
    few = (
        "" if n_voices >= FEW_VOICES or n_voices < 3 else f"; in folds: --folds {min(10, n_voices)}"
    )
    return f"validation: the val split, {voices}{few}"
