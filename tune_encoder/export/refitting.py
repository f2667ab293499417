"""Refitting: one encoder on all voices, of a trial that trained one on each fold.

The trial's scores tell how good its config is on new voices; its encoders each lack some voices. So
the config is trained on the voices of train and val together, up to the chosen epoch, with the
learning rates of the trial. Each refit has a folder within its search, `refit/TRIAL_EPOCH_KEY`; an
interrupted one resumes from its last epoch, and a finished one is used again.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tune_encoder.config import ExportSettings, TrainConfig, to_mapping
from tune_encoder.data.folds import all_voices
from tune_encoder.data.pack import Pack, PackedData
from tune_encoder.data.scores import score
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.epoch_row import EpochRow, validation_scores
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.run import FINAL
from tune_encoder.export.choosing import Choice
from tune_encoder.export.combining import Model, single_model
from tune_encoder.export.contents import FoldedScores
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.lock import lock_experiment
from tune_encoder.training.checkpoints import State, newest_valid_checkpoint, save_state
from tune_encoder.training.loop import ending_at, train
from tune_encoder.training.run_folder import stoppable
from tune_encoder.training.state import TrainState

FOLDER = "refit"  # within the search

OnEpoch = Callable[[EpochRow], None]


def refit_models(
    experiment: Experiment,
    choices: list[Choice],
    settings: ExportSettings,
    data: PackedData,
    on_epoch: OnEpoch = lambda row: None,
) -> list[Model]:
    """Train each chosen config on all voices, or take it from an earlier export.

    Args:
        experiment: A search over folds.
        choices: Its best epochs.
        settings: Of the export.
        data: The search's data.
        on_epoch: Called with the row of every epoch that is trained, once it is saved.

    Raises:
        ConfigError: if an average or ensemble is asked for.
        StorageError: if another process is refitting the same config.
        Interrupted: on Ctrl-C or SIGTERM, with every finished epoch saved; call again to resume.
    """
    for name in ("average", "ensemble"):
        if getattr(settings, name) > 1:
            raise ConfigError(
                f"{name} is {getattr(settings, name)}, but {experiment.name} was scored on folds: "
                "its checkpoints are of encoders that each lack some voices; leave it out"
            )
    together = all_voices(data)
    folds, baselines = experiment.space().validation.folds, experiment.fold_baselines() or {}
    again = experiment.command("export")
    with stoppable(lambda: f"stopped, the last epoch is saved; resume with `{again}`"):
        states = [_refit(choice, together, on_epoch) for choice in choices]
    return [_model(*each, together, folds, baselines) for each in zip(choices, states, strict=True)]


def _model(
    choice: Choice,
    state: State,
    data: PackedData,
    folds: int,
    baselines: dict[str, dict[str, float]],
) -> Model:
    """The model of a refitted choice, with the scores that it was chosen by."""
    refitted = replace(choice, state=state, subfolder=f"{FOLDER}/{_folder(choice, data).name}")
    scores = {**baselines, "model": validation_scores(choice.row)}
    model = replace(
        single_model(refitted),
        trained_on=("train", "val"),
        folded=FoldedScores(folds=folds, scores=scores),
    )
    return model if data.test is None else replace(model, loss=_loss(model, data.test, data))


def _refit(choice: Choice, data: PackedData, on_epoch: OnEpoch) -> State:
    folder = _folder(choice, data)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_experiment(folder):
        return _train(choice, data, folder, on_epoch)


def _folder(choice: Choice, data: PackedData) -> Path:
    content = {**to_mapping(choice.config), "data": data.identity}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{choice.trial.number:04d}_{choice.row['epoch']:06d}_{key}"
    return choice.search.path / FOLDER / name


def _train(choice: Choice, data: PackedData, folder: Path, on_epoch: OnEpoch) -> State:
    """Train up to the chosen epoch, or resume from the last one that was saved."""
    last = choice.row["epoch"]
    files = [folder / FINAL] if (folder / FINAL).exists() else []
    checkpoint = newest_valid_checkpoint(files)[1]
    done = checkpoint["epoch"] if checkpoint else 0
    words = "training on all voices"
    with (
        progress_bar(total=last, done=done, description=words, unit="epoch") as bar,
        ending_at(last) as check,
    ):

        def report(row: EpochRow, state: TrainState) -> None:
            save_state(folder / FINAL, state.state_dict())
            bar.update()
            on_epoch(row)
            check(row)

        if done < last:
            train(_config(choice), data, folder, report, checkpoint)
    state = newest_valid_checkpoint([folder / FINAL])[1]
    assert state is not None  # just saved
    return state


def _config(choice: Choice) -> TrainConfig:
    """The config of the trial with its threads; val is trained on, and cannot tell when to stop."""
    resources = choice.search.space().resources
    cpus = min(resources.cpus, os.cpu_count() or 1)
    threads = choice.config.num_threads or cpus
    return replace(choice.config, num_threads=threads, early_stopping_patience=0)


def _loss(model: Model, pack: Pack, data: PackedData) -> float:
    return score(model.predict(pack), pack.styles, data.statistics)["loss"]
