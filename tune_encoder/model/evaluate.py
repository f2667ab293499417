"""Evaluation of an exported model on voices it was not trained on.

Shapes: N clips, D style elements.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import evaluation_windows
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.pack import Pack, PackedData, open_pack
from tune_encoder.data.pack_info import SOUND_FOLDERS
from tune_encoder.data.packing import pack_data
from tune_encoder.data.score_words import MIN_INTERVAL_VOICES, NEW
from tune_encoder.data.scores import (
    Doubles,
    Styles,
    mean_squares,
    mean_styles,
    score,
    skill_of,
    variance_weights,
)
from tune_encoder.errors import DataError
from tune_encoder.model.encoder import Encoder
from tune_encoder.model.folder import load_model, splits_trained_on
from tune_encoder.model.prediction import predict_pack
from tune_encoder.system.files import atomic_write

N_BOOTSTRAP = 1000
PERCENTILES = (2.5, 97.5)  # percent
CPU = torch.device("cpu")

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """Scores and predictions on a split."""

    scores: dict[str, dict[str, float]]
    """Scores of the model and of each baseline."""
    voices: str
    """Whether the voices of the split are known, new or mixed."""
    interval: tuple[float, float] | None
    """95 % confidence interval of the model's skill, over voices; see `skill_interval`."""
    crop_consistency: float
    """Fraction of the predictions' variance between clips rather than between windows of a clip;
    1 if all windows of a clip give the same style."""
    predicted: Styles
    target: Styles
    warning: str = ""
    """What makes the scores, or the baselines, others than those of its training."""


def evaluate(model_dir: Path, data_dir: Path, split: str) -> Evaluation:
    """Score a model and the baselines.

    Args:
        model_dir: An exported model.
        data_dir: A data set; the baselines are fitted on its training split, with copies as the
            model was trained with, unless their folders are missing.
        split: val or test.

    Raises:
        StorageError: if the model cannot be loaded.
        DataError: if the data is invalid or has no such split.
    """
    model, config = load_model(model_dir)
    without_copies = _missing_sounds(config)
    settings = dataclasses.replace(config, augment_copies=0) if without_copies else config
    data = open_pack(pack_data(data_dir, settings))
    if split == "test" and data.test is None:
        raise DataError(f"{data_dir}: has no {split} split; evaluate on val or add {split}/")
    warning = without_copies or trained_on_val(model_dir, data, split)
    return dataclasses.replace(evaluate_model(model, config, data, split), warning=warning)


def trained_on_val(model_dir: Path, data: PackedData, split: str) -> str:
    """Say what it means for the scores, if a model was trained on val of these data; else ''."""
    trained_on, fingerprint = splits_trained_on(model_dir)
    if "val" not in trained_on or fingerprint != data.info["fingerprint"]:
        return ""
    if split == "val":
        return "the model was trained on val, too: its scores there tell nothing of other clips"
    return "the model was trained on train and val, the baselines here on train alone"


def _missing_sounds(config: TrainConfig) -> str:
    """Say which folder of a model's copies is missing, as on another machine; empty if none is."""
    folders = {name: getattr(config, name) for name in sorted(SOUND_FOLDERS)}
    missing = [name for name, folder in folders.items() if folder and not Path(folder).is_dir()]
    if not config.augment_copies or not missing:
        return ""
    return (
        f"{missing[0]} is {folders[missing[0]]}: no such folder; the baselines are fitted without "
        "copies, with which the model was trained, so they are others than those of its search"
    )


def evaluate_model(model: Encoder, config: TrainConfig, data: PackedData, split: str) -> Evaluation:
    """Score a loaded encoder and the baselines on a split of the data."""
    pack = data.split(split)
    predicted = predict_pack(model, pack, crop_frames(config), CPU)
    nearest = nearest_voice(predicted, data.train.styles)
    scores = {
        **data.info["baselines"][split],
        "nearest": score(nearest, pack.styles, data.statistics, data.known_voices),
        "model": score(predicted, pack.styles, data.statistics, data.known_voices),
    }
    voices = data.voice_kind(split)
    interval = skill_interval(predicted, pack, data, voices)
    consistency = crop_consistency(model, pack, config)
    return Evaluation(scores, voices, interval, consistency, predicted, pack.styles)


def nearest_voice(predicted: Styles, known: Styles) -> Styles:
    """Replace each prediction by the training style nearest to it."""
    squares = np.square(known.flatten()).sum(axis=1)
    nearest = (squares - 2 * predicted.flatten() @ known.flatten().T).argmin(axis=1)
    return Styles(known.ttl[nearest], known.dp[nearest])


def skill_interval(
    predicted: Styles, pack: Pack, data: PackedData, voices: str
) -> tuple[float, float] | None:
    """Bootstrap the skill over voices, not clips: clips of one voice are not independent.

    None if voices are not `NEW`, since it would say nothing of other voices, or if they are fewer
    than `MIN_INTERVAL_VOICES`.
    """
    if voices != NEW:
        return None
    return _interval(_bootstrap_skills(predicted, pack, data), pack)


def skill_difference_interval(
    first: Styles, second: Styles, pack: Pack, data: PackedData
) -> tuple[float, float] | None:
    """Bootstrap the difference in skill of two predictions, paired by voice.

    None if voices are fewer than `MIN_INTERVAL_VOICES`.
    """
    skills = [_bootstrap_skills(each, pack, data) for each in (first, second)]
    return _interval(skills[0] - skills[1], pack)


def _interval(values: Doubles, pack: Pack) -> tuple[float, float] | None:
    if len(set(pack.voices)) < MIN_INTERVAL_VOICES:
        return None
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)


def _bootstrap_skills(predicted: Styles, pack: Pack, data: PackedData) -> Doubles:
    """Skill of each of `N_BOOTSTRAP` bootstrap samples of voices, always the same ones."""
    n = len(set(pack.voices))
    chosen = np.random.default_rng(0).integers(n, size=(N_BOOTSTRAP, n))
    errors, spreads = voice_errors(predicted, pack, data)
    return skill_of(errors[chosen], spreads[chosen])


def voice_skills(predicted: Styles, pack: Pack, data: PackedData) -> dict[str, float]:
    """Return each voice's skill by its name."""
    errors, spreads = voice_errors(predicted, pack, data)
    skills = skill_of(errors[:, None], spreads[:, None])
    names = np.unique(pack.voices)
    return {str(name): float(each) for name, each in zip(names, skills, strict=True)}


def voice_errors(predicted: Styles, pack: Pack, data: PackedData) -> tuple[Doubles, Doubles]:
    """Return the weighted squared error of each voice (V,), and that of the mean voice."""
    target = pack.styles.flatten()
    weights = variance_weights(data.statistics)
    _, owner = np.unique(pack.voices, return_inverse=True)

    def per_voice(guess: Array) -> Doubles:
        squares = weights @ mean_squares(guess - target)
        return np.bincount(owner, weights=squares).astype(np.float64)

    mean = mean_styles(data.statistics, 1).flatten()
    return per_voice(predicted.flatten()), per_voice(mean)


@torch.no_grad()
def crop_consistency(model: Encoder, pack: Pack, config: TrainConfig) -> float:
    """Return the fraction of variance between clips; see `Evaluation`."""
    styles, owners = [], []
    for features, owner in evaluation_windows(pack, crop_frames(config)):
        ttl, dp = model(features)
        styles.append(torch.cat([ttl.flatten(1), dp.flatten(1)], dim=1).numpy())
        owners += owner
    windows, owner_of = np.concatenate(styles), np.array(owners)
    means = np.stack([windows[owner_of == i].mean(axis=0) for i in range(len(pack))])
    within = float(np.square(windows - means[owner_of]).mean())
    between = float(means.var(axis=0).mean())
    return between / (between + within) if between + within > 0 else 1.0


def evaluation_to_json(evaluation: Evaluation) -> dict[str, object]:
    """Return the evaluation as JSON content."""
    return {
        "scores": evaluation.scores,
        "voices": evaluation.voices,
        "skill_interval_95": evaluation.interval,
        "crop_consistency": evaluation.crop_consistency,
    }


def write_evaluation(evaluation: Evaluation, folder: Path, split: str) -> list[Path]:
    """Write `evaluation_SPLIT.json` and its figure; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    json_path = folder / f"evaluation_{split}.json"
    atomic_write(json_path, json.dumps(evaluation_to_json(evaluation), indent=2).encode())
    figure_path = folder / f"evaluation_{split}.png"
    plot_evaluation(evaluation, figure_path)
    return [json_path, figure_path]


def row_errors(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean squared error of each row of styles (N, R, D), and its variance over clips.

    Both are (R,); the variance is the error of predicting the mean of the clips.
    """
    residual = np.square(predicted - target).mean(axis=(0, 2))
    return residual, target.var(axis=0).mean(axis=1)


def principal_coordinates(predicted: Styles, target: Styles) -> list[tuple[Array, Array]]:
    """Return true and predicted coordinates (N,) on each principal component of the targets.

    The components are in order of decreasing variance.
    """
    mean = target.flatten().mean(axis=0)
    _, _, directions = np.linalg.svd(target.flatten() - mean, full_matrices=False)
    true, guess = ((styles.flatten() - mean) @ directions.T for styles in (target, predicted))
    return list(zip(true.T, guess.T, strict=True))


def plot_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Plot the error of each style row, and true against predicted components, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    rows, first, second = figure.subplots(1, 3)
    predicted, target = evaluation.predicted, evaluation.target
    residual, spread = row_errors(predicted.ttl, target.ttl)
    rows.bar(np.arange(len(spread)), spread, color="0.8", label="variance between voices")
    rows.bar(np.arange(len(spread)), residual, color="C0", width=0.5, label="squared error")
    rows.set(xlabel="row of style_ttl", ylabel="mean square", title="Error of each row")
    rows.margins(y=0.25)  # room for the legend
    rows.legend(loc="upper left", ncols=2, fontsize="small")
    names = ("first", "second")
    pairs = principal_coordinates(predicted, target)
    for axis, (true, guess), name in zip((first, second), pairs, names, strict=False):
        axis.scatter(true, guess, s=14)
        axis.axline((0, 0), slope=1, color="0.6", linewidth=1)
        axis.set(
            xlabel="true", ylabel="predicted", title=f"{name.capitalize()} principal component"
        )
    figure.savefig(path, dpi=120)
