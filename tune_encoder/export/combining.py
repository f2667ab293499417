"""Models made of several checkpoints: weight averaging and ensembles.

They are used only if they are best on the validation split; the test split, not used for that
choice, then shows how much they differ from the single best epoch.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tune_encoder.config import ExportSettings, MetricSettings, TrainConfig
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.pack import Pack, PackedData
from tune_encoder.data.scores import Styles, score
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export.blending import choose_blend
from tune_encoder.export.choosing import Checkpoint, Choice, best_epochs, choose
from tune_encoder.export.contents import (
    Alternative,
    AlternativeScores,
    FoldedScores,
    Member,
    Refitted,
)
from tune_encoder.model.encoder import Encoder, Ensemble, rebuild_encoder, with_windows
from tune_encoder.model.evaluate import CPU, skill_difference_interval
from tune_encoder.model.prediction import predict_pack

SINGLE, AVERAGE, ENSEMBLE, BLEND = "epoch", "average", "ensemble", "blend"


@dataclass(frozen=True)
class Model:
    """A model to export."""

    kind: str
    """epoch, average, ensemble or blend."""
    encoder: Encoder
    members: Sequence[Checkpoint]
    """The checkpoints it is made of, the best first."""
    loss: float
    """The search's loss on the first split it was not trained on; checked again after export."""
    alternatives: list[Alternative] = field(default_factory=list)
    """The alternatives tried, compared with the single best epoch."""
    trained_on: tuple[str, ...] = ("train",)
    """The splits its weights were trained on."""
    folded: FoldedScores | None = None
    """Scores of its config over folds, if the search had them."""
    refitted: Refitted | None = None
    """What training on train and val together has changed, if it was."""
    not_refitted: str = ""
    """Why that was begun but failed."""

    @property
    def is_ensemble(self) -> bool:
        """Whether it is an ensemble of several encoders."""
        return isinstance(self.encoder, Ensemble)

    def describe_members(self) -> list[Member]:
        """Return what identifies each checkpoint, in a blend with its share."""
        members = [member.describe() for member in self.members]
        if self.kind != BLEND or not isinstance(self.encoder, Ensemble):
            return members
        shares = self.encoder.shares.tolist()
        return [
            {**each, "share": round(share, 4)} for each, share in zip(members, shares, strict=True)
        ]

    @property
    def config(self) -> TrainConfig:
        """The settings of the first member, with the windows of an ensemble."""
        return with_windows(self.members[0].config, self.encoder)

    def predict(self, pack: Pack) -> Styles:
        """Predict the style of every clip of a split."""
        return predict_pack(self.encoder, pack, crop_frames(self.config), CPU)


def single_model(choice: Checkpoint) -> Model:
    """Return the model of a single epoch."""
    encoder = rebuild_encoder(choice.config, choice.state["model"])
    return Model(SINGLE, encoder, [choice], choice.row["val_loss"])


def best_model(
    experiment: Experiment, first: Choice, settings: ExportSettings, data: PackedData
) -> Model:
    """Return the single epoch, average, ensemble or blend, whichever is best on validation.

    Args:
        experiment: The search.
        first: Its best epoch.
        settings: Which combinations are tried.
        data: The search's data.
    """
    metric = experiment.space().metric
    single_epoch, *others = [single_model(first), *_combined(experiment, first, settings, data)]
    single = _evaluate(single_epoch, metric, data)
    rated = [_evaluate(model, metric, data) for model in others if len(model.members) > 1]
    # A blend has been found worth it already, even if val alone does not say so.
    blended = any(each.model.kind == BLEND for each in rated)
    best = min(rated if blended else [single, *rated], key=lambda each: each.value)
    asked = {AVERAGE: settings.average, ENSEMBLE: settings.ensemble}
    known = {each.model.kind: _compare_to_single(each, single, metric.sign, data) for each in rated}
    alternatives: list[Alternative] = [
        {
            "kind": model.kind,
            "asked": asked.get(model.kind, len(model.members)),
            "members": len(model.members),
            "metric": metric.name,
            "taken": model is best.model,
            "tied": model is best.model and best.value >= single.value,
            **known.get(model.kind, {}),
        }
        for model in others
    ]
    # That of a single epoch stays the recorded one, which the export has to reproduce.
    loss = best.model.loss if best is single else best.val["loss"]
    return replace(best.model, loss=loss, alternatives=alternatives)


def _combined(
    experiment: Experiment, first: Choice, settings: ExportSettings, data: PackedData
) -> list[Model]:
    """The combinations requested, of the checkpoints that exist."""
    combined = []
    if settings.average > 1:
        epochs = best_epochs(first.search, [first.trial], first.why)
        combined.append(average_model(list(itertools.islice(epochs, settings.average))))
    if settings.ensemble > 1:
        combined.append(ensemble_model(ENSEMBLE, choose(experiment, settings.ensemble)))
    if _may_blend(experiment, settings) and (blend := choose_blend(experiment, first, data)):
        combined.append(ensemble_model(BLEND, blend.choices, blend.shares))
    return combined


def _may_blend(experiment: Experiment, settings: ExportSettings) -> bool:
    """Whether a blend may replace the trial: not one that was asked for, or is kept within limits.

    A blend is as large and as slow as all its members.
    """
    space = experiment.space()
    bound = settings.trial is not None or space.constraints or space.metric.second
    return settings.blend == "auto" and not bound


def average_model(choices: list[Choice]) -> Model:
    """Return the average of the weights of a trial's epochs; integers are those of the best."""
    states = [choice.state["model"] for choice in choices]
    weights = {name: _mean([state[name] for state in states]) for name in states[0]}
    return Model(AVERAGE, rebuild_encoder(choices[0].config, weights), choices, 0.0)


def _mean(tensors: list[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    return torch.stack(tensors).mean(dim=0)


def ensemble_model(
    kind: str, choices: Sequence[Checkpoint], shares: list[float] | None = None
) -> Model:
    """Return a mean of predictions from the longest windows of any, weighted by the shares."""
    encoders = [rebuild_encoder(choice.config, choice.state["model"]) for choice in choices]
    window = max(choice.config.crop_seconds for choice in choices)
    return Model(kind, Ensemble(encoders, shares, window).eval(), choices, 0.0)


# --- comparison ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Evaluated:
    model: Model
    value: float
    """The metric on validation, negated if higher is better."""
    val: dict[str, float]
    test: Styles | None
    """Predictions for the test split."""


def _evaluate(model: Model, metric: MetricSettings, data: PackedData) -> _Evaluated:
    val = score(model.predict(data.val), data.val.styles, data.statistics, data.known_voices)
    test = None if data.test is None else model.predict(data.test)
    return _Evaluated(model, metric.sign * val[metric.name.removeprefix("val_")], val, test)


def _compare_to_single(
    alternative: _Evaluated, single: _Evaluated, sign: float, data: PackedData
) -> AlternativeScores:
    """Compare a combined model with the single epoch."""
    compared: AlternativeScores = {
        "value": sign * alternative.value,
        "value_alone": sign * single.value,
    }
    if data.test is not None and alternative.test is not None and single.test is not None:
        truth = data.test.styles
        compared["test_skill"] = score(alternative.test, truth, data.statistics)["skill"]
        compared["test_skill_alone"] = score(single.test, truth, data.statistics)["skill"]
        compared["test_difference_95"] = skill_difference_interval(
            alternative.test, single.test, data.test, data
        )
    return compared
