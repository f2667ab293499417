"""Writing of model folders."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from tune_encoder.config import ExportSettings, TrainConfig, to_mapping, write_yaml
from tune_encoder.data.fold_scores import interval_95
from tune_encoder.data.mel import MelSettings
from tune_encoder.data.novelty import known_sound, write_known_sound
from tune_encoder.data.pack import PackedData
from tune_encoder.data.score_words import NEW
from tune_encoder.data.voice_bank import bank_of_clips, write_bank
from tune_encoder.errors import StorageError
from tune_encoder.export.card import write_card
from tune_encoder.export.combining import Model
from tune_encoder.export.contents import (
    ExtraMetrics,
    Metrics,
    OnnxContent,
    Provenance,
    Scored,
)
from tune_encoder.export.origin import Origin
from tune_encoder.export.provenance import provenance, write_provenance
from tune_encoder.export.scoring import exported_scores, scores_in_new_process, unseen_splits
from tune_encoder.model.folder import CARD, CHECKPOINT, METRICS, WEIGHTS, member_config
from tune_encoder.system.manifest import MANIFEST
from tune_encoder.training.checkpoints import write_state

TOLERANCE = 1e-4  # of a score, between training and the check in a new process


@dataclass(frozen=True)
class Source:
    """What all models of an export share."""

    origin: Origin
    data: PackedData
    settings: ExportSettings
    extra: ExtraMetrics = field(default_factory=ExtraMetrics)
    """Additional content of metrics.json."""


def write_models(folders: Sequence[Path], models: Sequence[Model], source: Source) -> list[Metrics]:
    """Write each model to its folder, and check it in a new process.

    Returns:
        The content of each metrics.json.

    Raises:
        StorageError: if a new process cannot reproduce a score.
    """
    pairs = list(zip(folders, models, strict=True))
    for folder, model in pairs:
        folder.mkdir(exist_ok=True)
        _write_model(folder, model, source)
    with ThreadPoolExecutor(1) as thread:  # scoring is in another process, so both run in parallel
        scoring = thread.submit(scores_in_new_process, list(folders))
        onnx = [_write_onnx(*pair, source) for pair in pairs]
        scored = scoring.result()
    sources = [replace(source, extra=_with_onnx(source, each)) for each in onnx]
    return [_finish_model(*each) for each in zip(folders, models, scored, sources, strict=True)]


def _with_onnx(source: Source, written: OnnxContent) -> ExtraMetrics:
    return {**source.extra, "onnx": written}


def _write_model(folder: Path, model: Model, source: Source) -> None:
    """Write the files that scoring needs."""
    for number, member in enumerate(model.members):
        if number == 0 or model.is_ensemble:
            text = write_yaml(to_mapping(member.config))
            (folder / member_config(number)).write_text(text, encoding="utf-8")
    (folder / WEIGHTS).write_bytes(save(_tensors(model)))
    with (folder / CHECKPOINT).open("wb") as file:
        write_state(file, model.members[0].state)
    train, epoch = source.data.train, model.members[0].row["epoch"]
    write_bank(folder, bank_of_clips(train.voices, train.styles), epoch)
    sound = known_sound(train.clip, train.style_ids, _mel_settings(model.members[0].config))
    if sound is not None:
        write_known_sound(folder, sound, epoch)
    _write_provenance_only(folder, provenance(source.origin, model, source.data))


def _mel_settings(config: TrainConfig) -> MelSettings:
    return MelSettings(config.sample_rate, config.n_fft, config.hop_length, config.n_mels)


def _write_provenance_only(folder: Path, content: Provenance) -> None:
    """Write provenance.json, which lists all files and so replaces the manifest."""
    write_provenance(folder, content)
    (folder / MANIFEST).unlink(missing_ok=True)


def _write_onnx(folder: Path, model: Model, source: Source) -> OnnxContent:
    if not source.settings.onnx:
        return {}
    from tune_encoder.export.onnx import add_onnx  # needs the extra

    splits = unseen_splits(source.data, model.trained_on)
    return add_onnx(folder, model, source.data, splits, source.settings.int8)


def _tensors(model: Model) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in model.encoder.state_dict().items()}


def _finish_model(folder: Path, model: Model, scored: Scored, source: Source) -> Metrics:
    """Write the metrics and the model card once the model is scored."""
    _check_reproduced(model, scored)
    content = provenance(source.origin, model, source.data)
    metrics = _metrics(model, scored, source)
    (folder / METRICS).write_text(json.dumps(metrics, indent=2, allow_nan=False), encoding="utf-8")
    if not source.settings.torch:
        for name in (WEIGHTS, CHECKPOINT):
            (folder / name).unlink()
    write_card(folder / CARD, metrics, content, model)
    _write_provenance_only(folder, content)
    return metrics


def _check_reproduced(model: Model, scored: Scored) -> None:
    if not scored["scores"]:  # trained on all that there is
        return
    split, scores = next(iter(scored["scores"].items()))
    loss = scores["model"]["loss"]  # of all scores the one that old experiments have recorded too
    if not abs(model.loss - loss) <= 2 * TOLERANCE:  # a loss is about 2 (1 - skill)
        raise StorageError(
            f"the exported model has a loss of {loss:.5f} on {split}, its trial had "
            f"{model.loss:.5f}; check whether the data or the front end has changed"
        )


def _metrics(model: Model, scored: Scored, source: Source) -> Metrics:
    first = model.members[0]
    return {
        "experiment": source.origin.name,
        **first.describe(),
        "why": first.why,
        "kind": model.kind,
        "members": model.describe_members(),
        **_with_folds(model, scored),
        "combined": model.alternatives,
        **_extra(model, source),
        **source.origin.metrics,
        "seed": first.config.seed,
        "versions": source.origin.versions,
    }


def _extra(model: Model, source: Source) -> ExtraMetrics:
    extra = source.extra
    if model.folded is not None:
        extra = {**extra, "folded": model.folded}
    if model.refitted is not None:
        extra = {**extra, "refitted": model.refitted}
    return {**extra, "not_refitted": model.not_refitted} if model.not_refitted else extra


def _with_folds(model: Model, scored: Scored) -> Scored:
    """Add the scores over folds, if there are any, before those of test."""
    if model.folded is None:
        return scored
    scores = {name: exported_scores(each) for name, each in model.folded["scores"].items()}
    found = model.folded["scores"]["model"]
    interval = interval_95(found["skill"], found["skill_se"], model.folded["folds"])
    return {
        **scored,
        "scores": {"folds": scores, **scored["scores"]},
        "voices": {"folds": NEW, **scored["voices"]},
        "skill_interval_95": {"folds": interval, **scored["skill_interval_95"]},
    }
