"""Export: the best epoch of all trials as a folder that stands alone, checked in a new process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tune_encoder.checkpoints import State, load_state, save_state
from tune_encoder.config import TrainConfig, from_mapping, to_mapping, write_yaml
from tune_encoder.data.batches import crop_frames
from tune_encoder.data.pack import PackedData, open_pack, pack_data
from tune_encoder.errors import SearchFailed, StorageError
from tune_encoder.experiment import Experiment, Row, TrialRecord
from tune_encoder.files import refuse_filled, whole_folder
from tune_encoder.manifest import save_listed
from tune_encoder.metrics import score
from tune_encoder.model_folder import CHECKPOINT, CONFIG, METRICS, WEIGHTS, load_model
from tune_encoder.trainer import predict

TOLERANCE = 1e-4  # of val_skill, between the trial's process and the checking one
_EXPORTED_SCORES = ("skill", "skill_ttl", "skill_dp", "centered_cosine", "retrieval", "loss")


def export_best(experiment: Experiment, to: Path) -> dict[str, Any]:
    """Write the best epoch over all trials to the folder `to`, which is old or complete.

    Returns:
        What stands in metrics.json.

    Raises:
        SearchFailed: if no trial has a usable checkpoint.
        StorageError: if a new process cannot reproduce the score.
    """
    if not (to / WEIGHTS).is_file():
        refuse_filled(to)  # only an older model gives way
    search = experiment.search()
    trial, row, state = _best_checkpoint(experiment)
    config = from_mapping(
        TrainConfig, {**trial.settings, "data_dir": search["data_dir"]}, experiment.name
    )
    with whole_folder(to, replace=True) as folder:
        (folder / CONFIG).write_text(write_yaml(to_mapping(config)), encoding="utf-8")
        save_listed(folder / WEIGHTS, save(_tensors(state["model"])), state["epoch"])
        save_state(folder / CHECKPOINT, state)
        scores = _scores_in_new_process(folder)
        _check_reproduced(row, scores["val"]["model"])
        metrics = {
            "experiment": experiment.name,
            "trial": trial.number,
            "epoch": row["epoch"],
            "scores": scores,
            "search": _cost(experiment),
            "seed": config.seed,
            "fingerprint": search["fingerprint"],
            "versions": search["versions"],
        }
        (folder / METRICS).write_text(json.dumps(metrics, indent=2), encoding="utf-8")
    return metrics


def _best_checkpoint(experiment: Experiment) -> tuple[TrialRecord, Row, State]:
    """The best epoch whose checkpoint is there and verifies."""
    scored = [
        (row["val_loss"], trial, row)
        for trial in experiment.trials()
        for row in trial.rows
        if trial.state != "FAIL"
    ]
    for _, trial, row in sorted(scored, key=lambda entry: entry[0]):
        path = experiment.checkpoint_file(row)
        if path is not None and path.exists():
            try:
                return trial, row, load_state(path)
            except StorageError:
                continue  # damaged: the next best epoch that verifies is exported
    raise SearchFailed(
        f"{experiment.path}: no trial has a usable checkpoint; go on with "
        f"`{experiment.command('resume')}`"
    )


def _tensors(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _cost(experiment: Experiment) -> dict[str, Any]:
    """What the search spent."""
    trials = experiment.trials()
    rows = [row for trial in trials for row in trial.rows]
    states = [trial.state for trial in trials]
    return {
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "epochs": len(rows),
        "trial_hours": round(sum(row["seconds"] for row in rows) / 3600, 4),
    }


def _check_reproduced(row: Row, scores: dict[str, float]) -> None:
    difference = abs(row["val_skill"] - scores["skill"])
    if not difference <= TOLERANCE:
        raise StorageError(
            f"the exported model has a validation skill of {scores['skill']:.5f}, its trial had "
            f"{row['val_skill']:.5f}; was the data or the front end changed?"
        )


# --- in the new process ------------------------------------------------------------------------


def _scores_in_new_process(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Load the written files as a stranger would, and score them on val and test."""
    command = [sys.executable, "-m", "tune_encoder.export", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StorageError(f"{folder}: the exported model cannot be loaded again: {reason}")
    scores: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout.splitlines()[-1])
    return scores


def rescore(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Score an exported model beside the baselines, on each split it was not trained on."""
    model, config = load_model(folder)
    data = open_pack(pack_data(Path(config.data_dir), config))
    return {
        name: {**_short(data.info["baselines"][name]), "model": scores}
        for name, scores in _model_scores(model, config, data).items()
    }


def _model_scores(model: Any, config: TrainConfig, data: PackedData) -> dict[str, dict[str, float]]:
    splits = {"val": data.val, "test": data.test}
    device = torch.device("cpu")
    return {
        name: _exported(
            score(predict(model, pack, crop_frames(config), device), pack.styles, data.statistics)
        )
        for name, pack in splits.items()
        if pack is not None
    }


def _short(baselines: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: _exported(scores) for name, scores in baselines.items()}


def _exported(scores: dict[str, float]) -> dict[str, float]:
    return {name: scores[name] for name in _EXPORTED_SCORES}


if __name__ == "__main__":
    print(json.dumps(rescore(Path(sys.argv[1]))))  # noqa: T201  (read by the process that asked)
