"""The content of metrics.json and provenance.json in a model folder."""

from typing import TYPE_CHECKING, TypedDict

from tune_encoder.config import SettingValue

if TYPE_CHECKING:
    from typing_extensions import NotRequired


class Member(TypedDict):
    """A checkpoint that a model is made of."""

    trained_in: str
    """Such as `mine`, `mine/confirm/top3x3` or `mine/retrain/4f0c9a51/0003`."""
    trial: int | None
    """None of a run by hand."""
    epoch: int
    seed: int
    share: "NotRequired[float]"
    """Its share in the predictions of a blend."""


class AlternativeScores(TypedDict, total=False):
    """Scores of an average or ensemble and of the single best epoch."""

    value: float
    """The search's metric on val."""
    value_alone: float
    """That of the single best epoch."""
    test_skill: float
    test_skill_alone: float
    test_difference_95: tuple[float, float] | None
    """95 % interval of the difference of the two, over voices; None if they are too few."""


class Alternative(AlternativeScores):
    """An average, ensemble or blend; without scores if there is only one checkpoint."""

    kind: str
    asked: int
    """Number of checkpoints requested."""
    members: int
    """Number of checkpoints available."""
    metric: str
    taken: bool
    """Whether it was exported."""
    tied: "NotRequired[bool]"
    """Whether it was exported although it is no better on val, as a blend may be."""


class OnnxContent(TypedDict, total=False):
    """The ONNX files; empty if none were written."""

    files: list[str]
    int8_skill: dict[str, float]
    """Skill of the quantised encoder, by split."""


class Retrained(TypedDict):
    """Scores of retrained models and of the search's model, on clips not used to select them."""

    epochs: int
    with_val: bool
    seeds: list[int]
    split: str
    skills: list[float]
    """Skill of each seed."""
    mean: float
    sd: float | None
    """Standard deviation over seeds; None for a single one."""
    search_skill: float
    exported_skill: float
    difference_95: tuple[float, float] | None
    """95 % interval of the exported minus the search's skill, over voices; None if too few."""


class FoldedScores(TypedDict):
    """Scores over the folds of a search; the exported encoder was trained on all voices."""

    folds: int
    scores: dict[str, dict[str, float]]
    """Of each baseline and of `model`: K encoders of its config, each on voices that it lacks; with
    standard errors such as `skill_se`."""


class Refitted(TypedDict):
    """What training on train and val together has changed; both are scored on test."""

    seeds: "NotRequired[int]"
    """How often a network was trained at most, if more than once, to average what they predict."""
    epoch: int
    """The best on val, of the first member."""
    val_skill: float
    """Skill on val of what was chosen there."""
    test_skill: float
    test_skill_before: float
    test_difference_95: tuple[float, float] | None
    """95 % interval of the difference of the two, over voices; None if they are too few."""


class ExtraMetrics(TypedDict, total=False):
    """Keys that only some exports have."""

    onnx: OnnxContent
    retrained: Retrained
    folded: FoldedScores
    refitted: Refitted
    not_refitted: str
    """Why training on train and val together failed."""


Scores = dict[str, dict[str, dict[str, float]]]
"""Scores by split, then by baseline or `model`, then by name."""


class Scored(TypedDict):
    """Scores of an exported model and the baselines."""

    scores: Scores
    voices: dict[str, str]
    """Whether the voices of a split are known from train, new, or mixed, by split."""
    skill_interval_95: dict[str, tuple[float, float] | None]
    """95 % interval of the model's skill over voices, by split; None if voices are known or few."""
    fingerprint: str
    """Fingerprint of the data."""


class SearchCost(TypedDict):
    """The cost of a search."""

    trials: dict[str, int]
    """Number of trials by state."""
    epochs: int
    trial_hours: float
    """Total training time of all trials, in hours."""


class RunCost(TypedDict):
    """A single run by hand."""

    epochs: int
    """Epochs that were trained when it was exported."""
    budget: int
    """Epochs it was to train at most."""
    hours: float
    """Its training time, in hours."""
    settings: dict[str, SettingValue]
    """The settings that differ from the defaults."""


class OriginMetrics(TypedDict, total=False):
    """Keys of a search, or of a single run by hand."""

    space: dict[str, str]
    """The searched settings, each with its range or choices as text."""
    search: SearchCost
    confirmation: list[SearchCost]
    run: RunCost


class Metrics(Member, Scored, ExtraMetrics, OriginMetrics):
    """The content of metrics.json; trial, epoch and seed are those of the first member."""

    experiment: str
    """Name of the experiment, or of the folder of a run by hand."""
    why: str
    """Why it was selected."""
    kind: str
    """epoch, average, ensemble or blend."""
    members: list[Member]
    combined: list[Alternative]
    versions: dict[str, str]
    """Versions of the packages when the search or run began."""


class DataDescription(TypedDict):
    """A data set, and how much its splits overlap."""

    fingerprint: str
    frontend: dict[str, SettingValue]
    clips: dict[str, int]
    voices: dict[str, int]
    hours: dict[str, float]
    known_styles: dict[str, int]
    """Number of styles, by split not trained on, that the model was trained on."""


class Versions(TypedDict):
    """Versions of the packages, by name."""

    search: dict[str, str]
    export: dict[str, str]


class Provenance(TypedDict):
    """The content of provenance.json."""

    format: int
    made_at: str
    """ISO 8601, UTC."""
    experiment: str
    kind: str
    members: list[Member]
    trained_on: list[str]
    folds: "NotRequired[int]"
    """Number of folds of voices that the config was chosen by; only of a search over folds."""
    refitted: "NotRequired[bool]"
    """Whether it was chosen on val before it was trained on train and val together."""
    search_seed: int
    data: DataDescription
    versions: Versions
    files: "NotRequired[dict[str, dict[str, list[str]]]]"
    """SHA-256 of every other file of the folder; added when it is written."""
