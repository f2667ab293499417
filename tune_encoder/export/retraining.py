"""Retraining the best config of a search, with further seeds and any number of epochs.

Each seed has a folder within the experiment, `retrain/KEY/0003`, where KEY is a hash of the config.
An interrupted seed resumes from its last epoch.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tune_encoder.config import (
    ExportSettings,
    MetricSettings,
    RetrainSettings,
    TrainConfig,
    to_mapping,
    write_yaml,
)
from tune_encoder.data.pack import Pack, PackedData, merge_train_and_val, open_pack
from tune_encoder.data.packing import pack_of_search
from tune_encoder.data.scores import Styles, score
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.experiment.confirmation import FOLDER as CONFIRM
from tune_encoder.experiment.confirmation import new_seeds, standard_deviation
from tune_encoder.experiment.epoch_row import EpochRow, score_of
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.run import BEST, CONFIG, FINAL
from tune_encoder.experiment.run_status import RETRAIN
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.export import (
    Choice,
    Model,
    Source,
    check_replaceable,
    choose,
    export_models,
    single_model,
)
from tune_encoder.export.contents import Metrics, Retrained
from tune_encoder.export.origin import search_origin
from tune_encoder.model.evaluate import skill_difference_interval
from tune_encoder.system.files import atomic_write
from tune_encoder.system.formats import count_noun
from tune_encoder.system.lock import lock_experiment
from tune_encoder.training.checkpoints import load_state, newest_valid_checkpoint, save_state
from tune_encoder.training.loop import train
from tune_encoder.training.run_folder import stoppable
from tune_encoder.training.state import TrainState

RETRAINED = "retrained"  # folder of the model in the experiment
OnEpoch = Callable[[int, EpochRow], None]
"""Called after every epoch with the seed and the row."""


@dataclass(frozen=True)
class RetrainPlan:
    """What to retrain."""

    winner: Choice
    """The best checkpoint of the search, whose config is retrained."""
    config: TrainConfig
    """The config with the requested epochs; its seed is replaced."""
    seeds: list[int]
    with_val: bool
    """Whether to train on the validation clips too."""
    folder: Path


def plan_retraining(experiment: Experiment, settings: RetrainSettings) -> RetrainPlan:
    """Plan the retraining of a search's best config.

    Raises:
        SearchFailed: if the search has no usable checkpoint.
        ConfigError: if it was scored on folds.
    """
    if (folds := experiment.space().validation.folds) > 1:
        raise ConfigError(
            f"{experiment.name} was scored on {folds} folds of voices, and its export is trained "
            "on all voices of train and val already; for further seeds use "
            f"`{experiment.command('confirm')}`"
        )
    (winner,) = choose(experiment, 1)
    config = dataclasses.replace(
        winner.config,
        epochs=settings.epochs or experiment.space().budget.epochs,
        early_stopping_patience=0,  # train all epochs; the best one is exported anyway
    )
    searches = [experiment, *map(Experiment, sorted(experiment.path.glob(f"{CONFIRM}/*")))]
    trials = [trial for each in searches for trial in each.trials()]
    folder = experiment.path / RETRAIN / _key(config, settings.with_val)
    seeds = new_seeds(trials, settings.seeds)
    return RetrainPlan(winner, config, seeds, settings.with_val, folder)


def _key(config: TrainConfig, with_val: bool) -> str:
    """Hash a config, without its seed."""
    content = {**to_mapping(config), "seed": None, "with_val": with_val}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def retrain(
    experiment: Experiment, plan: RetrainPlan, to: Path, settings: ExportSettings, on_epoch: OnEpoch
) -> Metrics:
    """Train the planned seeds, or resume them, and export the best.

    Returns:
        The content of the export's metrics.json.

    Raises:
        ConfigError: if the folder has other content than an older export.
        DataError: if no split would be left to score on.
        StorageError: if the data has changed, or another process is retraining the same config.
        Interrupted: on Ctrl-C or SIGTERM, with every finished epoch saved; call again to resume.
    """
    check_replaceable(to)
    data = open_pack(pack_of_search(experiment.data_source(), plan.config))
    if plan.with_val and data.test is None:
        raise DataError(
            f"{plan.config.data_dir}: has no test split, so a model trained on val could not be "
            "scored; add test/ or omit --with-val"
        )
    metric = experiment.space().metric
    plan.folder.mkdir(parents=True, exist_ok=True)
    with lock_experiment(plan.folder), stoppable(lambda: _how_to_resume(experiment)):
        for seed in plan.seeds:
            _train_seed(plan, seed, data, metric, on_epoch)
    models = [_model(experiment, plan, seed, data, metric) for seed in plan.seeds]
    best = models[0] if plan.with_val else min(models, key=lambda m: _objective(m, metric))
    compared = _compared(plan, models, best, data)
    source = Source(search_origin(experiment), data, settings, {"retrained": compared})
    return export_models([best], to, source)[0]


def _how_to_resume(experiment: Experiment) -> str:
    return (
        f"stopped, the last epoch is saved; resume with `{experiment.command('retrain')}` and "
        "the same options"
    )


# --- training ------------------------------------------------------------------------------------


def _train_seed(
    plan: RetrainPlan, seed: int, data: PackedData, metric: MetricSettings, on_epoch: OnEpoch
) -> None:
    """Train one seed, or resume it from its last epoch."""
    folder = _seed_folder(plan, seed)
    config = dataclasses.replace(plan.config, seed=seed)
    folder.mkdir(exist_ok=True)
    atomic_write(folder / CONFIG, write_yaml(to_mapping(config)).encode())

    def report(row: EpochRow, state: TrainState) -> None:
        content = state.state_dict()
        if _best_row(state.history, metric) is row:
            save_state(folder / BEST, content)
        save_state(folder / FINAL, content)
        on_epoch(seed, row)

    checkpoint = newest_valid_checkpoint(
        [path for path in (folder / FINAL, folder / BEST) if path.exists()]
    )[1]
    for row in checkpoint["history"] if checkpoint else []:
        on_epoch(seed, row)
    train(config, merge_train_and_val(data) if plan.with_val else data, folder, report, checkpoint)


def _seed_folder(plan: RetrainPlan, seed: int) -> Path:
    return plan.folder / f"{seed:04d}"


def _best_row(history: list[EpochRow], metric: MetricSettings) -> EpochRow:
    return min(history, key=lambda row: metric.sign * score_of(row, metric.name))


# --- what came out -------------------------------------------------------------------------------


def _model(
    experiment: Experiment, plan: RetrainPlan, seed: int, data: PackedData, metric: MetricSettings
) -> Model:
    """The best epoch of a seed; the last one if val was trained on and cannot select it."""
    folder = _seed_folder(plan, seed)
    try:
        state = load_state(folder / (FINAL if plan.with_val else BEST))
    except StorageError as error:
        raise StorageError(f"{error}; remove {folder} and run the same command again") from error
    config = dataclasses.replace(plan.config, seed=seed)
    row = state["history"][-1]
    trial = TrialRecord(plan.winner.trial.number, "COMPLETE", to_mapping(config), [row])
    subfolder = str(folder.relative_to(experiment.path))
    choice = Choice(experiment, trial, row, state, _why(plan, metric), subfolder)
    model = single_model(choice)
    if not plan.with_val:
        return model
    assert data.test is not None  # checked by `retrain`
    scores = score(model.predict(data.test), data.test.styles, data.statistics)
    return dataclasses.replace(model, loss=scores["loss"], trained_on=("train", "val"))


def _why(plan: RetrainPlan, metric: MetricSettings) -> str:
    origin = f"the config of trial {plan.winner.trial.number} of {plan.winner.trained_in}"
    if plan.with_val:
        return f"{origin}, trained on train and val for {count_noun(plan.config.epochs, 'epoch')}"
    word = "lowest" if metric.direction == "min" else "highest"
    return f"{origin}, the {word} {metric.name} of {count_noun(len(plan.seeds), 'further seed')}"


def _objective(model: Model, metric: MetricSettings) -> float:
    return metric.sign * score_of(model.members[0].row, metric.name)


def _compared(plan: RetrainPlan, models: list[Model], best: Model, data: PackedData) -> Retrained:
    """Compare the retrained models with that of the search, on test if there is one."""
    name, pack = ("val", data.val) if data.test is None else ("test", data.test)
    search = single_model(plan.winner).predict(pack)
    styles = [model.predict(pack) for model in models]
    skills = [_skill(each, pack, data) for each in styles]
    exported = styles[next(i for i, model in enumerate(models) if model is best)]
    return {
        "epochs": plan.config.epochs,
        "with_val": plan.with_val,
        "seeds": plan.seeds,
        "split": name,
        "skills": skills,
        "mean": fmean(skills),
        "sd": standard_deviation(skills),
        "search_skill": _skill(search, pack, data),
        "exported_skill": _skill(exported, pack, data),
        "difference_95": skill_difference_interval(exported, search, pack, data),
    }


def _skill(predicted: Styles, pack: Pack, data: PackedData) -> float:
    return score(predicted, pack.styles, data.statistics)["skill"]
