"""Scores over folds: means with standard errors.

A skill is not the mean of the folds' skills: a fold may have a single voice, and one near the mean
voice has a skill far below 0 whatever is predicted. Instead its two sums are taken over all folds.

Shapes: K folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from tune_encoder.config import FrontendSettings, from_mapping
from tune_encoder.data.folds import FoldedData
from tune_encoder.data.pack import Pack, PackedData
from tune_encoder.data.score_words import NEW
from tune_encoder.data.scores import (
    Doubles,
    mean_squares,
    mean_styles,
    ratio_error,
    skill_of,
    variance_weights,
)

Scores = Mapping[str, float]


@dataclass(frozen=True)
class FoldScale:
    """What the errors of a fold are measured by."""

    weights: Doubles
    """(2,) of the mean squared errors of ttl and dp."""
    spreads: Doubles
    """(2,) mean squared errors of the fold's mean voice on the voices left out."""


def fold_scales(data: FoldedData) -> list[FoldScale]:
    """Return what the errors of each fold are measured by."""
    return [_fold_scale(fold) for fold in data.folds]


def _fold_scale(fold: PackedData) -> FoldScale:
    deviations = fold.val.styles.flatten() - mean_styles(fold.statistics, 1).flatten()
    return FoldScale(variance_weights(fold.statistics), mean_squares(deviations).mean(axis=1))


def mean_over_folds(scores: Sequence[Scores], scales: Sequence[FoldScale]) -> dict[str, float]:
    """Return the scores over all folds, with the standard errors of the loss and the skills.

    Each score is the mean over folds. A skill is 1 - the sum over folds of the model's error / that
    of the mean voice's error.

    Args:
        scores: Of each fold, from `data.scores.score`.
        scales: From `fold_scales`.
    """
    names = [name for name in scores[0] if not name.endswith("_se")]  # of voices within a fold
    found = {name: fmean(each[name] for each in scores) for name in names}
    errors = np.array([[each["ttl_mse"], each["dp_mse"]] for each in scores])  # (K, 2)
    spreads, weights = (
        np.array([getattr(each, part) for each in scales]) for part in ("spreads", "weights")
    )
    ratios = {
        "skill": ((weights * errors).sum(axis=1), (weights * spreads).sum(axis=1)),
        "skill_ttl": (errors[:, 0], spreads[:, 0]),
        "skill_dp": (errors[:, 1], spreads[:, 1]),
    }
    for name, (error, spread) in ratios.items():
        found[name], found[f"{name}_se"] = _ratio_skill(error, spread)
    loss = np.array([each["loss"] for each in scores])
    found["loss_se"] = ratio_error(loss, np.ones(len(loss)))
    return found


def baselines_over_folds(data: FoldedData) -> dict[str, dict[str, float]]:
    """Return the scores of the baselines by name, over all folds; each fold has its own fits."""
    found = [split_baselines(fold, fold.val, NEW) for fold in data.folds]
    scales = fold_scales(data)
    return {name: mean_over_folds([each[name] for each in found], scales) for name in found[0]}


def split_baselines(data: PackedData, pack: Pack, kind: str) -> dict[str, dict[str, float]]:
    """Fit the baselines to the training clips, and return their scores on other clips by name."""
    # Here, because they load torch, which the rest does without.
    from tune_encoder.data.baselines import (
        baseline_scores,
        fit_ridge,
        fit_statistics,
        window_frames,
    )

    fitted = {
        "ridge": fit_ridge(data.train, data.statistics, kind),
        "statistics": fit_statistics(data.train, data.statistics, kind),
    }
    frames = window_frames(from_mapping(FrontendSettings, data.info["frontend"], "pack"))
    return baseline_scores(fitted, data.statistics, data.known_voices, pack, frames)


def interval_95(mean: float, standard_error: float, folds: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a mean over folds, by Student's t-distribution."""
    from scipy import stats  # takes half a second to load

    margin = float(stats.t.ppf(0.975, folds - 1)) * standard_error
    return mean - margin, mean + margin


def _ratio_skill(error: Doubles, spread: Doubles) -> tuple[float, float]:
    """Return 1 - sum(error) / sum(spread) over K folds, and its standard error."""
    return float(skill_of(error, spread)), ratio_error(error, spread)
