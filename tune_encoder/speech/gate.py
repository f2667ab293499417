"""The gate before a clip is written: what a synthesis that went wrong sounds like.

Shapes: T audio samples.
"""

import unicodedata

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.audio import SILENT_PEAK, level_dbfs
from tune_encoder.data.quality import CLIPPED_FROM, MAX_CLIPPED_RATIO

MIN_SECONDS = 0.5  # less says nothing of a voice
MIN_LEVEL_DBFS, MAX_LEVEL_DBFS = -45.0, -8.0  # Supertonic speaks at -26 to -28, edited voices -14
# Seconds of a letter at the speed 1; a Korean or Japanese one is a syllable or more.
_LETTER_S = 0.07
_LETTER_S_OF = {"ko": 0.17, "ja": 0.15}
_LEAST, _MOST = 0.4, 2.5  # of the usual length; a slow voice takes twice as long as a quick one
_PAUSES_S = 1.5  # before, within and after a text

Array = NDArray[np.float32]


def refusal(audio: Array, sample_rate: int, text: str, lang: str, speed: float) -> str:
    """Return in words what speaks against a clip, such as "silent"; empty if it is good.

    Args:
        audio: (T,)
        sample_rate: Hz.
        text: What it says.
        lang: The language of the text.
        speed: At which it was spoken.
    """
    peak = float(np.abs(audio).max(initial=0))  # NaN if there is one
    if not np.isfinite(peak):
        return "not finite"
    if peak < SILENT_PEAK:
        return "silent"
    least, most = plausible_seconds(text, lang, speed)
    seconds = audio.size / sample_rate
    if not least <= seconds <= most:
        return "too short" if seconds < least else "too long"
    if peak >= CLIPPED_FROM and np.mean(np.abs(audio) >= CLIPPED_FROM) > MAX_CLIPPED_RATIO:
        return "clipped"
    level = level_dbfs(audio, sample_rate)
    if not MIN_LEVEL_DBFS <= level <= MAX_LEVEL_DBFS:
        return "too quiet" if level < MIN_LEVEL_DBFS else "too loud"
    return ""


def plausible_seconds(text: str, lang: str, speed: float) -> tuple[float, float]:
    """Return the least and the most seconds that speech of a text may take."""
    letters = sum(unicodedata.category(each)[0] in "LN" for each in text)
    usual = letters * _LETTER_S_OF.get(lang, _LETTER_S) / speed
    return max(MIN_SECONDS, _LEAST * usual), _MOST * usual + _PAUSES_S
