"""The names of scores, and what is said of them wherever they are shown.

A voice is known if its style is in train too. The skill on known voices tells how well they are
recognised, that on new voices how well a voice is cloned that the encoder never heard: two scores
that have different names and are never compared.
"""

from collections.abc import Iterable, Mapping

KNOWN, NEW, MIXED = "known", "new", "mixed"
MIN_INTERVAL_VOICES = 5  # a bootstrap over fewer voices says little, and looks as if it did
_VISIBLE = 5e-4  # of a skill: no difference of three printed digits

_SKILL_NAMES = {
    KNOWN: "known-voice skill",
    NEW: "new-voice skill",
    MIXED: "mixed-voice skill",
}


def kind_of_voices(train: Iterable[bytes], split: Iterable[bytes]) -> str:
    """Return whether the voices of a split are all known from train, all new, or mixed.

    Args:
        train: Keys of the training styles.
        split: Keys of the split's styles.
    """
    known, voices = set(train), set(split)
    if not voices & known:
        return NEW
    return KNOWN if voices <= known else MIXED


def skill_name(kind: str | None) -> str:
    """Return the name of the skill on voices of this kind; None if the kind was not recorded."""
    return _SKILL_NAMES[kind] if kind is not None else "skill"


def describe_interval(interval: tuple[float, float] | None, kind: str | None) -> str:
    """Describe a 95 % interval over voices, or say why there is none."""
    if interval is not None:
        return f"95 % between {interval[0]:.3f} and {interval[1]:.3f}, over voices"
    if kind in (KNOWN, MIXED):
        return "no interval, since it shares voices with train: it says nothing of other voices"
    return f"too few voices for an interval, which needs at least {MIN_INTERVAL_VOICES}"


def compare_skills(skill: float, strongest: float) -> str:
    """Say how a skill stands to that of the strongest baseline, as far as three digits show."""
    if abs(skill - strongest) <= _VISIBLE:
        return "equals"
    return "beats" if skill > strongest else "does not beat"


def strongest_baseline(baselines: Mapping[str, Mapping[str, float]]) -> tuple[str, float]:
    """Return the name and the skill of the strongest baseline.

    Args:
        baselines: Scores by name, at least one; each with its `skill`.
    """
    name = max(baselines, key=lambda name: baselines[name]["skill"])
    return name, baselines[name]["skill"]


def below_baseline(
    skill: float, baselines: Mapping[str, Mapping[str, float]], split: str, kind: str | None
) -> str:
    """Say that a model is below the strongest baseline, and below the mean voice; else empty.

    Args:
        skill: The model's skill.
        baselines: Scores by name; each with its `skill`.
        split: The split of both.
        kind: Of its voices.
    """
    name, strongest = strongest_baseline(baselines)
    if skill >= strongest - _VISIBLE:
        return ""
    mean = " and below the mean voice (0)" if skill < 0 and name != "mean" else ""
    return (
        f"{skill_name(kind)} {skill:.3f} on {split} is below the baseline {name} "
        f"({strongest:.3f}){mean}"
    )
