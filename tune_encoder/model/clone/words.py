"""What is said of a clone, wherever one is made."""

from tune_encoder.data.voice_bank import VoiceBank
from tune_encoder.data.voice_style import VoiceStyle
from tune_encoder.model.clone.cloning import Clone
from tune_encoder.model.clone.speaker import SpeakerClone

SEVERAL_SPEAKERS = 0.7  # between parts; of 64 recordings of a demo voice the median is 0.25
UNIT = "(1: as between two voices)"
DIVIDED = "its recordings are unlike each other; are they of one speaker?"


def describe_clone(result: Clone, bank: VoiceBank | None) -> list[str]:
    """Return the quality of a recording, its nearest voice, and how sure its style is, as lines."""
    lines = [f"{result.recording.name}: {result.quality.describe()}"]
    if bank is not None:
        lines.append(describe_nearest(result.style, bank))
        if result.windows and (spread := bank.spread(result.windows)) is not None:
            lines.append(describe_spread(spread))
    return lines


def describe_speaker(name: str, result: SpeakerClone, bank: VoiceBank | None) -> list[str]:
    """Return which recordings made the style of a speaker, and how sure it is, as lines."""
    n_clips = len(result.clips)
    total = n_clips + len(result.failed) + len(result.left_out)
    lines = [f"{name}: {n_clips} of {total} recordings, {result.sound_s:.1f} s of sound"]
    for path, distance in result.left_out.items():
        lines.append(f"left out {path.name}: {distance:.2f} from the others {UNIT}")
    if result.is_divided:
        lines.append(DIVIDED)
    if bank is not None:
        if result.spread is not None:
            lines.append(
                f"its recordings are {result.spread:.2f} apart, which makes the style sure to "
                f"{result.uncertainty:.2f}"
            )
        lines.append(describe_nearest(result.style, bank))
    return lines


def speaker_warnings(result: SpeakerClone) -> list[str]:
    """Return what makes the style of a speaker less reliable."""
    is_alone = len(result.clips) == 1
    return [warning for clip in result.clips for warning in clip.warnings(is_alone=is_alone)]


def describe_nearest(style: VoiceStyle, bank: VoiceBank) -> str:
    """Name the known voice that is nearest to a style, and its distance."""
    name, distance = bank.nearest(style)
    how_far = "the only known" if distance is None else f"distance {distance:.2f} {UNIT}"
    return f"nearest voice {name}, {how_far}"


def describe_spread(spread: float) -> str:
    """Say how far the parts of a recording are apart, which tells how sure its style is."""
    several = "; is it one speaker?" if spread > SEVERAL_SPEAKERS else ""
    return f"its parts are {spread:.2f} apart (the less, the surer){several}"
