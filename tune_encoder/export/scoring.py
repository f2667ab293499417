"""Scores of an exported model, computed in a new process from its folder alone."""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from tune_encoder.config import TrainConfig
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.fold_scores import split_baselines
from tune_encoder.data.folds import all_voices
from tune_encoder.data.pack import Pack, PackedData, merge_train_and_val, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.score_words import NEW
from tune_encoder.data.scores import score
from tune_encoder.errors import StorageError
from tune_encoder.export.contents import Scored
from tune_encoder.export.provenance import read_provenance
from tune_encoder.model.encoder import Encoder
from tune_encoder.model.evaluate import CPU, skill_interval
from tune_encoder.model.folder import load_model
from tune_encoder.model.prediction import predict_pack

EXPORTED_SCORES = (
    "skill", "skill_se", "skill_ttl", "skill_dp",
    "centered_cosine", "retrieval", "retrieval_chance", "loss",
)  # fmt: skip


def scores_in_new_process(folders: list[Path]) -> list[Scored]:
    """Score each folder on every split it was not trained on.

    Raises:
        StorageError: if one cannot be loaded.
    """
    command = [sys.executable, "-m", "tune_encoder.export.scoring", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StorageError(f"{folders[0].parent}: the exported model cannot be loaded: {reason}")
    scored: list[Scored] = json.loads(done.stdout.splitlines()[-1])
    return scored


def rescore(folder: Path, data_dir: Path | None = None) -> Scored:
    """Score an exported model and the baselines.

    Args:
        folder: The model.
        data_dir: Its data, if not the folder of the model's config.
    """
    model, config = load_model(folder)
    data = open_pack(pack_data(data_dir or Path(config.data_dir), config))
    origin = read_provenance(folder)
    seen = origin["trained_on"]
    refitted = "folds" in origin or "refitted" in origin
    if refitted:
        data = all_voices(data, NEW if "folds" in origin else data.voice_kind("val"))
    elif "val" in seen:  # its voices are known, too
        data = merge_train_and_val(data)
    packs = unseen_splits(data, seen)
    found = {name: _scored(model, config, name, data) for name in packs}
    baselines = _baselines_of_all(data) if refitted else data.info["baselines"]
    return {
        "scores": {
            name: {**_short(baselines[name]), "model": exported_scores(scores)}
            for name, (scores, _) in found.items()
        },
        "voices": {name: data.voice_kind(name) for name in packs},
        "skill_interval_95": {name: interval for name, (_, interval) in found.items()},
        "fingerprint": data.info["fingerprint"],
    }


def _baselines_of_all(data: PackedData) -> dict[str, dict[str, dict[str, float]]]:
    """The baselines on test, fitted to train and val like the model."""
    if data.test is None:
        return {}
    return {"test": split_baselines(data, data.test, data.voice_kind("test"))}


def unseen_splits(data: PackedData, trained_on: Collection[str]) -> dict[str, Pack]:
    """Return the splits that a model was not trained on, val before test."""
    splits = {"val": data.val, "test": data.test}
    return {n: pack for n, pack in splits.items() if pack is not None and n not in trained_on}


def _scored(
    model: Encoder, config: TrainConfig, split: str, data: PackedData
) -> tuple[dict[str, float], tuple[float, float] | None]:
    pack = data.split(split)
    predicted = predict_pack(model, pack, crop_frames(config), CPU)
    return (
        score(predicted, pack.styles, data.statistics, data.known_voices),
        skill_interval(predicted, pack, data, data.voice_kind(split)),
    )


def _short(baselines: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: exported_scores(scores) for name, scores in baselines.items()}


def exported_scores(scores: dict[str, float]) -> dict[str, float]:
    """Return the scores that go into a model folder; of one voice there are no standard errors."""
    return {name: scores[name] for name in EXPORTED_SCORES if name in scores}


if __name__ == "__main__":
    scored = [rescore(Path(folder)) for folder in sys.argv[1:]]
    print(json.dumps(scored))  # noqa: T201  (read by the process that asked)
