"""Blending: a weighted mean of what the best trials predict, the closed form among them.

Shapes: C candidates, V voices, N clips.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.crops import crop_frames
from tune_encoder.data.pack import PackedData
from tune_encoder.data.score_words import KNOWN
from tune_encoder.data.scores import EPSILON, Styles
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import rank_trials
from tune_encoder.export.choosing import Choice, best_epochs
from tune_encoder.model.encoder import rebuild_encoder
from tune_encoder.model.evaluate import CPU, voice_errors
from tune_encoder.model.prediction import predict_pack

MAX_CANDIDATES = 8  # best trials, and the closed form
ROUNDS = 10
MIN_VOICES = 5  # with fewer, the standard error below means little
SIGNIFICANT = 2.0  # standard errors

_Predict = Callable[[int, int], Styles]  # by a candidate's number, from windows of so many frames


@dataclass(frozen=True)
class Blend:
    """Checkpoints, and the share of each in the mean of their predictions."""

    choices: list[Choice]
    shares: list[float]


def choose_blend(experiment: Experiment, first: Choice, data: PackedData) -> Blend | None:
    """Return the blend that is better on val than the first choice, or None if none is.

    Members are added one by one, each as often as it helps most: Caruana et al., Ensemble Selection
    from Libraries of Models, ICML 2004. It is better if the voices' errors fall, on average, by
    more than the standard error of that average.

    On known voices, val has few clips that resemble train, and can hardly tell. There the closed
    form and the best network, whose errors differ in kind, have half each, unless that is
    significantly worse than the first choice alone.
    """
    candidates = _candidates(experiment, first)
    if len(candidates) == 1 or len(set(data.val.voices)) < MIN_VOICES:
        return None
    predict = _predictor(candidates, data)
    alone = _errors({0: 1.0}, candidates, predict, data)
    shares = _selected(candidates, predict, data)
    if _mean_gain(alone, _errors(shares, candidates, predict, data)) > 1:
        return _blend(shares, candidates)
    if data.voice_kind("val") != KNOWN:
        return None
    shares = _halves(experiment, candidates)
    gain = _mean_gain(alone, _errors(shares, candidates, predict, data))
    return _blend(shares, candidates) if len(shares) > 1 and gain > -SIGNIFICANT else None


def _blend(shares: dict[int, float], candidates: Sequence[Choice]) -> Blend:
    return Blend([candidates[i] for i in shares], list(shares.values()))


def _selected(
    candidates: Sequence[Choice], predict: _Predict, data: PackedData
) -> dict[int, float]:
    """The shares that Caruana's selection gives them, from the longest windows of any."""
    n_frames = _longest(candidates)
    counts, _ = select_members([predict(i, n_frames) for i in range(len(candidates))], data)
    return {i: count / counts.total() for i, count in counts.items()}


def _errors(
    shares: dict[int, float], candidates: Sequence[Choice], predict: _Predict, data: PackedData
) -> NDArray[np.float64]:
    """The errors of the voices of val (V,) by a blend, with the windows that it will be given."""
    n_frames = _longest([candidates[i] for i in shares])
    predicted = {i: predict(i, n_frames) for i in shares}
    return voice_errors(_weighted(predicted, shares), data.val, data)[0]


def _longest(choices: Sequence[Choice]) -> int:
    """Frames of the longest crop."""
    return max(crop_frames(each.config) for each in choices)


def _mean_gain(alone: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """How much lower the voices' errors (V,) are on average, in standard errors of that average."""
    gains = alone - errors
    return float(gains.mean() / max(gains.std(ddof=1) / np.sqrt(len(gains)), EPSILON))


def _halves(experiment: Experiment, candidates: Sequence[Choice]) -> dict[int, float]:
    """Half for the closed form and half for the best network; all for either without the other."""
    is_closed_form = experiment.space().is_closed_form
    closed = [i for i, each in enumerate(candidates) if is_closed_form(each.trial.settings)]
    networks = [i for i in range(len(candidates)) if i not in closed]
    if not closed or not networks:
        return {0: 1.0}
    return dict.fromkeys(sorted([closed[0], networks[0]]), 0.5)


def _weighted(predicted: dict[int, Styles], shares: dict[int, float]) -> Styles:
    ttl, dp = (
        np.sum([share * getattr(predicted[i], part) for i, share in shares.items()], axis=0)
        for part in ("ttl", "dp")
    )
    return Styles(ttl, dp)


def _candidates(experiment: Experiment, first: Choice) -> list[Choice]:
    """The first choice, the best epoch of the next best trials, and the closed form."""
    space, trials = experiment.space(), rank_trials(experiment.trials())
    networks = [trial for trial in trials if not space.is_closed_form(trial.settings)]
    closed = [trial for trial in trials if space.is_closed_form(trial.settings)]
    found = [first]
    for trial in [*networks[:MAX_CANDIDATES], *closed]:
        if first.search.path != experiment.path or trial.number != first.trial.number:
            found += itertools.islice(best_epochs(experiment, [trial]), 1)
    return found


def _predictor(candidates: Sequence[Choice], data: PackedData) -> _Predict:
    """A function that predicts val by a candidate from windows of so many frames, once each."""
    encoders = [rebuild_encoder(each.config, each.state["model"]) for each in candidates]
    return cache(lambda i, n_frames: predict_pack(encoders[i], data.val, n_frames, CPU))


def select_members(
    predicted: Sequence[Styles], data: PackedData
) -> tuple[Counter[int], NDArray[np.float64]]:
    """Return how often each candidate is taken, the first at least once, and the errors (V,)."""
    counts, sums = Counter([0]), predicted[0]
    errors = voice_errors(sums, data.val, data)[0]
    for size in range(2, ROUNDS + 1):
        tried = [_mix(sums, each, size) for each in predicted]
        rated = [voice_errors(each, data.val, data)[0] for each in tried]
        best = min(range(len(rated)), key=lambda i: float(rated[i].mean()))
        if rated[best].mean() >= errors.mean():
            break
        counts[best] += 1
        sums, errors = tried[best], rated[best]
    return counts, errors


def _mix(mean: Styles, added: Styles, size: int) -> Styles:
    """The mean of `size` predictions, of which `mean` is that of all but the last."""
    ttl, dp = (
        getattr(mean, part) + (getattr(added, part) - getattr(mean, part)) / size
        for part in ("ttl", "dp")
    )
    return Styles(ttl, dp)
