"""Splitting of imported recordings into train, val and test: by whole voices, or by time."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.audio import is_silent
from tune_encoder.data.audio_file import Span
from tune_encoder.data.folds import count_default_folds
from tune_encoder.data.pairing import join_names
from tune_encoder.data.samples import SPLITS
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.system.formats import count_noun

VOICES, TIME = "voices", "time"
HELD_OUT_FRACTION = 0.1  # of the voices, for val and again for test
VAL_START, TEST_START = 0.7, 0.85  # fractions at which a clip is cut where splits share voices
MIN_PART_S = 1.0  # a shorter part says little about a voice

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """What was asked of the splits of an import."""

    how: str = ""
    """`VOICES` or `TIME`; if empty, by voices where most have several clips."""
    hold_out: Sequence[str] = ()
    """Names of voices that go to test alone, as new voices."""
    test_dir: Path | None = None
    """Folder of recordings that make test."""


@dataclass(frozen=True)
class Splitting:
    """How the clips of an import are split."""

    split_of: Mapping[str, str]
    """Split of each voice that goes whole into one."""
    reason: str = ""
    """Why the others are cut by time; empty if there are none."""
    has_test: bool = True
    """Whether test takes its part of the others; if not, it has clips or voices of its own."""
    is_given: bool = False
    """Whether a manifest says the split of each clip."""

    @property
    def least_s(self) -> float:
        """Seconds that a clip needs to be cut."""
        return MIN_PART_S * (3 if self.has_test else 2)

    def parts(
        self, voice: str, audio: Array, sample_rate: int, span: Span | None = None
    ) -> dict[str, Array]:
        """Return the parts of a clip by split.

        Args:
            voice: Of the clip.
            audio: The clip.
            sample_rate: In Hz.
            span: Which piece of a long recording it is, if it is one: of those the first are train,
                so that none is cut again.
        """
        if voice in self.split_of:
            return {self.split_of[voice]: audio}
        if span is not None and span.count >= len(SPLITS):
            return {_split_of_piece(span, self.has_test): audio}
        return cut_by_time(audio, sample_rate, self.has_test)


def choose_splitting(clips_of: Mapping[str, int], request: SplitRequest, seed: int) -> Splitting:
    """Choose the split of each voice, or that clips are cut by time.

    Args:
        clips_of: Number of clips of each voice.
        request: What was asked for.
        seed: Chooses the voices of val and test.

    Raises:
        ConfigError: if `hold_out` names a voice without a recording, or all voices.
        DataError: if there are too few voices for `VOICES`.
    """
    _check_held_out(clips_of, request.hold_out)
    rest = {voice: count for voice, count in clips_of.items() if voice not in request.hold_out}
    held_out = dict.fromkeys(request.hold_out, "test")
    takes_test = not request.hold_out and request.test_dir is None
    splits = SPLITS if takes_test else SPLITS[:2]
    reason = _why_by_time(rest, request.how, splits)
    if reason:
        return Splitting(held_out, reason, takes_test)
    return Splitting({**held_out, **assign_splits(sorted(rest), seed, takes_test)})


def _check_held_out(clips_of: Iterable[str], hold_out: Sequence[str]) -> None:
    voices = sorted(clips_of)
    for name in hold_out:
        if name not in voices:
            raise ConfigError(
                f"--hold-out {name}: no recording has a voice of this name; there are "
                f"{', '.join(voices)}"
            )
    if set(hold_out) == set(voices):
        raise ConfigError(
            f"--hold-out names all {count_noun(len(voices), 'voice')}; leave some to train on"
        )


def _why_by_time(clips_of: Mapping[str, int], how: str, splits: Sequence[str]) -> str:
    """Say why voices share the splits; empty if whole voices are assigned."""
    n_several = sum(count > 1 for count in clips_of.values())
    verb = "is" if len(clips_of) == 1 else "are"
    too_few = f"{count_noun(len(clips_of), 'voice')} {verb} too few to hold some out for "
    too_few += " and ".join(splits[1:])
    if how == TIME:
        return "as asked"
    if len(clips_of) < len(splits):
        if how == VOICES:
            raise DataError(f"--split voices: {too_few}; use --split time, or add voices")
        return too_few
    if how == VOICES or 2 * n_several > len(clips_of):
        return ""
    return f"{n_several} of {len(clips_of)} voices have several clips"


def assign_splits(voices: list[str], seed: int, has_test: bool = True) -> dict[str, str]:
    """Assign about 10 % of the voices each to val and test, at least one; the rest is train.

    Args:
        voices: Their names.
        seed: Of the choice.
        has_test: Whether test takes any.
    """
    shuffled = [voices[i] for i in np.random.default_rng(seed).permutation(len(voices))]
    held_out = max(1, round(HELD_OUT_FRACTION * len(voices)))
    val, test = shuffled[:held_out], shuffled[held_out : 2 * held_out] if has_test else []
    return {
        voice: "val" if voice in val else "test" if voice in test else "train" for voice in voices
    }


def cut_by_time(audio: Array, sample_rate: int, has_test: bool = True) -> dict[str, Array]:
    """Cut a clip at 70 and 85 %, each part at least 1 s; if that is impossible, all is train.

    Without a part for test it is cut at 85 % only.
    """
    min_samples = round(MIN_PART_S * sample_rate)
    cuts: list[int] = []
    end = audio.size
    for start in (TEST_START, VAL_START) if has_test else (TEST_START,):
        end = min(round(start * audio.size), end - min_samples)
        cuts.insert(0, end)
    if end < min_samples:
        return {"train": audio}
    parts = np.split(audio, cuts)
    if any(is_silent(part) for part in parts):  # a long pause of digital silence
        return {"train": audio}
    return dict(zip(SPLITS, parts, strict=False))


def _split_of_piece(span: Span, has_test: bool) -> str:
    """Return the split of a piece of a recording that is cut into at least three."""
    n_held_out = max(1, round((1 - TEST_START) * span.count))
    from_end = (span.count - 1 - span.index) // n_held_out
    if not has_test:
        return "val" if from_end == 0 else "train"
    return {0: "test", 1: "val"}.get(from_end, "train")


def single_voice_warning(voices: Mapping[str, set[str]], splitting: Splitting) -> str:
    """Warn of a val or test of one voice; empty if there is none."""
    single = [name for name in SPLITS[1:] if len(voices[name]) == 1]
    if not single:
        return ""
    names = ", ".join(f"{name} is a single voice ({min(voices[name])})" for name in single)
    is_fixed = splitting.reason or splitting.is_given
    remedy = "" if is_fixed else ", or cut each clip by time with --split time"
    return f"{names}: a score on one voice is mostly chance; add voices{remedy}"


def shared_voices_warning(splitting: Splitting) -> str:
    """Warn that splits share voices; empty if they do not."""
    if not splitting.reason:
        return ""
    names = "train, val and test" if splitting.has_test else "train and val"
    return (
        f"split by time ({splitting.reason}): {names} share voices, so scores tell how well known "
        "voices are recognised, not how well new voices are cloned"
    )


def check_given_splits(source: Path, counts: Mapping[str, int]) -> None:
    """Check that a manifest puts clips into train and val.

    Args:
        source: The manifest.
        counts: Number of samples of each split.

    Raises:
        DataError: naming the split without a clip.
    """
    for name in SPLITS[:2]:
        if not counts[name]:
            raise DataError(
                f"{source}: no clip is left for {name}; name it in the column split, or leave the "
                "column out"
            )


def given_splits_warning(voices: Mapping[str, set[str]], splitting: Splitting) -> str:
    """Warn of voices that a manifest puts into train and another split; empty if there are none."""
    known = voices["train"] & (voices["val"] | voices["test"])
    if not splitting.is_given or not known:
        return ""
    return (
        f"{count_noun(len(known), 'voice')} of val or test {'is' if len(known) == 1 else 'are'} in "
        f"train too, as the column split says ({join_names(sorted(known))}): scores on them tell "
        "how well known voices are recognised, not how well new voices are cloned"
    )


def describe_folds(voices: Mapping[str, set[str]], splitting: Splitting) -> str:
    """Say that a search will score on folds of voices; empty if they are many or known."""
    n_voices = len(voices["train"] | voices["val"])
    folds = count_default_folds(n_voices)
    if folds == 1 or splitting.reason or (splitting.is_given and voices["val"] <= voices["train"]):
        return ""
    return (
        f"{n_voices} voices in train and val are few: a search scores each config on {folds} folds "
        "of whole voices"
    )


def count_clips(voices: Iterable[str]) -> dict[str, int]:
    """Return the number of clips of each voice."""
    return dict(Counter(voices))
