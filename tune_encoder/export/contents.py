"""What stands in the metrics.json and the provenance.json of a model folder."""

from typing import TYPE_CHECKING, TypedDict

from tune_encoder.config import SettingValue

if TYPE_CHECKING:
    from typing_extensions import NotRequired


class Member(TypedDict):
    """A checkpoint that a model is made of."""

    trained_in: str
    """As in `mine`, `mine/confirm/top3x3` or `mine/retrain/4f0c9a51/0003`."""
    trial: int
    epoch: int
    seed: int


class AlternativeScores(TypedDict, total=False):
    """How an average or ensemble compares with the single best epoch."""

    value: float
    """Of the search's metric on val."""
    value_alone: float
    """That of the single epoch."""
    test_skill: float
    test_skill_alone: float
    test_difference_95: tuple[float, float]
    """Interval of the difference of the two over voices."""


class Alternative(AlternativeScores):
    """An average or ensemble that was asked for; without scores if one checkpoint is all of it."""

    kind: str
    asked: int
    """Checkpoints asked for."""
    members: int
    """Checkpoints there were."""
    metric: str
    taken: bool
    """Whether it is the model that was exported."""


class OnnxContent(TypedDict, total=False):
    """The ONNX files; empty if none were written."""

    files: list[str]
    int8_skill: dict[str, float]
    """Skill of the quantised encoder, by split."""


class Retrained(TypedDict):
    """How retrained models and the search's own do on clips that chose none of them."""

    epochs: int
    with_val: bool
    seeds: list[int]
    split: str
    skills: list[float]
    """Of each seed."""
    mean: float
    sd: float | None
    """Standard deviation over seeds; None of a single one."""
    search_skill: float
    exported_skill: float
    difference_95: tuple[float, float]
    """Interval of the exported skill minus the search's, over voices."""


class ExtraMetrics(TypedDict, total=False):
    """What only some exports have."""

    onnx: OnnxContent
    retrained: Retrained


Scores = dict[str, dict[str, dict[str, float]]]
"""Scores by split, then by `mean`, `ridge` or `model`, then by name."""


class Scored(TypedDict):
    """Scores of a written model beside the baselines."""

    scores: Scores
    skill_interval_95: dict[str, tuple[float, float]]
    """Of the model's skill over voices, by split."""
    fingerprint: str
    """Of the data."""


class SearchCost(TypedDict):
    """What a search spent."""

    trials: dict[str, int]
    """How many ended in which state."""
    epochs: int
    trial_hours: float
    """Hours of training, of all trials together."""


class Metrics(Member, Scored, ExtraMetrics):
    """metrics.json; what stands beside the members is that of the first."""

    experiment: str
    why: str
    """Why it was chosen."""
    kind: str
    """epoch, average or ensemble."""
    members: list[Member]
    combined: list[Alternative]
    space: dict[str, str]
    """The searched settings, each with its range or choices in words."""
    search: SearchCost
    confirmation: list[SearchCost]
    versions: dict[str, str]
    """Of the packages when the search began."""


class DataDescription(TypedDict):
    """A data set, and which of its splits share voices."""

    fingerprint: str
    frontend: dict[str, SettingValue]
    clips: dict[str, int]
    voices: dict[str, int]
    hours: dict[str, float]
    known_styles: dict[str, int]
    """Of each split that was not trained on, how many of its styles were trained on too."""


class Versions(TypedDict):
    """Versions of the packages, by name."""

    search: dict[str, str]
    export: dict[str, str]


class Provenance(TypedDict):
    """provenance.json."""

    format: int
    made_at: str
    """ISO 8601, UTC."""
    experiment: str
    kind: str
    members: list[Member]
    trained_on: list[str]
    search_seed: int
    data: DataDescription
    versions: Versions
    files: "NotRequired[dict[str, dict[str, list[str]]]]"
    """SHA-256 of every other file of the folder; added when it is written."""
