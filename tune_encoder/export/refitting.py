"""Refitting: what was chosen on val, or over folds, is trained again on train and val together.

The scores of a trial tell how good its config is, but its encoder lacks the clips of val, or those
of a search over folds some voices each. So the config is trained on all of them, up to the chosen
epoch, with the learning rates of the trial. On known voices it is trained as long as the trial was:
the few clips of val can hardly tell the best epoch from the last, whose weights have settled.
There, where it is quick, what was chosen on val is trained with several seeds, whose errors differ:
Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation Using Deep Ensembles,
NIPS 2017.

Each refit has a folder within its search, `refit/TRIAL_EPOCH_KEY`; an interrupted one resumes from
its last epoch, and a finished one is used again.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace

from tune_encoder.config import ExportSettings, TrainConfig, to_mapping
from tune_encoder.data.pack import PackedData
from tune_encoder.data.score_words import KNOWN, NEW
from tune_encoder.data.scores import identities_of, score
from tune_encoder.errors import (
    ConfigError,
    DataError,
    Interrupted,
    TuneEncoderError,
    error_line,
)
from tune_encoder.experiment.confirmation import new_seeds
from tune_encoder.experiment.epoch_row import validation_scores
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export.choosing import Checkpoint, Choice
from tune_encoder.export.combining import (
    AVERAGE,
    BLEND,
    ENSEMBLE,
    Model,
    ensemble_model,
    single_model,
)
from tune_encoder.export.contents import FoldedScores, Refitted
from tune_encoder.export.refit_runs import AllVoices, OnEpoch, RefitRun, train_runs
from tune_encoder.model.encoder import Ensemble
from tune_encoder.model.evaluate import skill_difference_interval
from tune_encoder.system.lock import lock_holder
from tune_encoder.training.run_folder import stoppable

FOLDER = "refit"  # within the search
SEEDS = 3  # on known voices
MAX_S = 300.0  # that the trials took, to be trained with so many
MIN_NEW_VOICES = 20  # in val, to tell the epoch up to which its voices are trained on, too
MAX_NEW_S = 3600.0  # that the trials took, to be trained on new voices without being asked


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
        ConfigError: if an average or ensemble is asked for, or no refit.
        StorageError: if another process is refitting the same config.
        Interrupted: on Ctrl-C or SIGTERM, with every finished epoch saved; call again to resume.
    """
    for name, is_possible in (
        ("average", settings.average == 1),
        ("ensemble", settings.ensemble == 1),
        ("refit", settings.refit != "none"),
        ("refit_seeds", settings.refit_seeds is None),
    ):
        if not is_possible:
            raise ConfigError(
                f"{name} is {getattr(settings, name)}, but {experiment.name} was scored on folds: "
                "its checkpoints are of encoders that each lack some voices; leave it out"
            )
    voices = AllVoices(data)
    folds, baselines = experiment.space().validation.folds, experiment.fold_baselines() or {}
    models = []
    for choice in _refit_all(experiment, choices, voices, on_epoch):
        scores = {**baselines, "model": validation_scores(choice.row)}
        folded = FoldedScores(folds=folds, scores=scores)
        model = replace(single_model(choice), trained_on=("train", "val"), folded=folded)
        models.append(_with_test_loss(model, voices.data))
    return models


def refit_if_due(
    experiment: Experiment, models: list[Model], settings: ExportSettings, data: PackedData
) -> list[Model]:
    """Refit models that were chosen on val, if it is asked for or does good by itself.

    By itself it must not lose the export of a search: if it fails, the models are as chosen.

    Raises:
        DataError: if it is asked for, but there is no test split.
        Interrupted: as `refit_model`, which if it is asked for may raise its errors, too.
    """
    if not may_refit(experiment, models, settings, data):
        return models
    try:
        return [refit_model(experiment, model, data, settings.refit_seeds) for model in models]
    except Interrupted:
        raise
    except (TuneEncoderError, OSError) as error:
        if settings.refit == "always":
            raise
        return [replace(model, not_refitted=error_line(error)) for model in models]


def may_refit(
    experiment: Experiment, models: list[Model], settings: ExportSettings, data: PackedData
) -> bool:
    """Return whether models that were chosen on val are trained on val, too.

    If nobody asks for it: the best model of a search that has ended, without limits that another
    epoch might break, where val has other clips of the voices of train, of which each counts, or
    enough new voices. There must be a test split, as nothing else could tell how good it is, and
    the trials must have been trained on the processor, as this is no work of Ray's, which lends
    devices.

    Raises:
        DataError: if it is asked for, but there is no test split.
    """
    if settings.refit == "always" and data.test is None:
        raise DataError(
            f"{models[0].config.data_dir}: has no test split, so a model trained on val could not "
            "be scored; add test/ or leave out refit"
        )
    if settings.refit != "auto":
        return settings.refit == "always"
    is_best = settings.trial is None and settings.top_k == 1 and models[0].kind != AVERAGE
    has_ended = lock_holder(experiment.path) is None
    on_processor = experiment.space().resources.gpus == 0
    fits = data.test is not None and not _has_limits(experiment)
    may = is_best and has_ended and on_processor and fits
    return may and (data.voice_kind("val") == KNOWN or _suits_new_voices(experiment, models, data))


def _suits_new_voices(experiment: Experiment, models: list[Model], data: PackedData) -> bool:
    """Whether val has enough new voices, none of them in test, and training on them is short work.

    With voices of test it would no longer tell how good the model is on new ones.
    """
    if data.voice_kind("val") != NEW or data.test is None:
        return False
    voices, tested = (set(identities_of(each.unique_styles)) for each in (data.val, data.test))
    is_short = _seconds(experiment, models[0].members) <= MAX_NEW_S
    return len(voices) >= MIN_NEW_VOICES and voices.isdisjoint(tested) and is_short


def _has_limits(experiment: Experiment) -> bool:
    space = experiment.space()
    return bool(space.constraints or space.metric.second)


def refit_model(
    experiment: Experiment,
    model: Model,
    data: PackedData,
    n_seeds: int | None = None,
    on_epoch: OnEpoch = lambda row: None,
) -> Model:
    """Train each member of a model again, on train and val together; their shares stay.

    Args:
        experiment: The search.
        model: What was chosen on val: a single epoch, an ensemble or a blend.
        data: The search's data, with a test split.
        n_seeds: With which each network is trained, to predict their mean; None: one, or `SEEDS`
            on known voices if the trials were quick.
        on_epoch: Called with the row of every epoch that is trained, once it is saved.

    Raises:
        StorageError: if another process is refitting the same config.
        Interrupted: on Ctrl-C or SIGTERM, with every finished epoch saved; call again to resume.
    """
    voices = AllVoices(data, data.voice_kind("val"))
    choices = [each for each in model.members if isinstance(each, Choice)]
    assert len(choices) == len(model.members)  # those of a search are
    if data.voice_kind("val") == KNOWN and not _has_limits(experiment):
        choices = [replace(each, row=each.trial.rows[-1]) for each in choices]
    by_itself = _default_seeds(experiment, choices, data)
    counts = _n_seeds(experiment, choices, n_seeds or by_itself)
    members = _refit_all(experiment, _with_seeds(choices, counts), voices, on_epoch)
    again = _rebuild(model, members, counts)
    changed = replace(
        model,
        kind=again.kind,
        encoder=again.encoder,
        members=members,
        trained_on=("train", "val"),
        refitted=_compare(model, again, data, max(counts)),
    )
    return _with_test_loss(changed, voices.data)


def _default_seeds(experiment: Experiment, choices: Sequence[Choice], data: PackedData) -> int:
    """With how many seeds a network is trained if nobody says so.

    With one where there are limits, as several encoders are as large as all together.
    """
    is_quick = _seconds(experiment, choices) <= MAX_S
    may = data.voice_kind("val") == KNOWN and not _has_limits(experiment)
    return SEEDS if is_quick and may else 1


def _seconds(experiment: Experiment, members: Sequence[Checkpoint]) -> float:
    """How long the trials took of what is trained again, all processes together."""
    rows = [row for each in members if isinstance(each, Choice) for row in each.trial.rows]
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    return seconds * experiment.space().resources.processes_per_trial


def _n_seeds(experiment: Experiment, choices: Sequence[Choice], count: int) -> list[int]:
    """With how many seeds each config is trained; a closed form has none, so it is trained once."""
    is_closed_form = experiment.space().is_closed_form
    return [1 if is_closed_form(each.trial.settings) else count for each in choices]


def _with_seeds(choices: Sequence[Choice], counts: Sequence[int]) -> list[Choice]:
    """The choices, each followed by the same config with further seeds, of which none comes twice.

    Two choices may have the same config, such as a trial and its confirmation.
    """
    seeded = []
    taken = [choice.trial for choice in choices]
    for choice, count in zip(choices, counts, strict=True):
        seeds = [choice.trial.seed, *new_seeds(taken, count - 1)]
        settings = [{**choice.trial.settings, "seed": seed} for seed in seeds]
        trials = [replace(choice.trial, settings=each) for each in settings]
        seeded += [replace(choice, trial=each) for each in trials]
        taken += trials
    return seeded


def _rebuild(model: Model, members: Sequence[Choice], counts: Sequence[int]) -> Model:
    """The model of new members, so many for each of its own, whose share they have in parts."""
    if len(members) == 1:
        return single_model(members[0])
    old = model.encoder.shares.tolist() if isinstance(model.encoder, Ensemble) else [1.0]
    shares = [share / n for share, n in zip(old, counts, strict=True) for _ in range(n)]
    is_blend = model.kind == BLEND or max(shares) > min(shares)
    return ensemble_model(BLEND if is_blend else ENSEMBLE, members, shares)


def _compare(before: Model, after: Model, data: PackedData, n_seeds: int) -> Refitted:
    """Compare the two on test, with the mean voice of train alone for both."""
    assert data.test is not None  # `may_refit`
    styles = [model.predict(data.test) for model in (before, after)]
    skills = [score(each, data.test.styles, data.statistics)["skill"] for each in styles]
    val = score(before.predict(data.val), data.val.styles, data.statistics)
    compared: Refitted = {
        "epoch": before.members[0].row["epoch"],
        "val_skill": val["skill"],
        "test_skill": skills[1],
        "test_skill_before": skills[0],
        "test_difference_95": skill_difference_interval(styles[1], styles[0], data.test, data),
    }
    return {**compared, "seeds": n_seeds} if n_seeds > 1 else compared


def _with_test_loss(model: Model, data: PackedData) -> Model:
    """The model with the loss that the export has to reproduce, if there is a test split."""
    if data.test is None:
        return model
    loss = score(model.predict(data.test), data.test.styles, data.statistics)["loss"]
    return replace(model, loss=loss)


# --- training ------------------------------------------------------------------------------------


def _refit_all(
    experiment: Experiment, choices: Sequence[Choice], voices: AllVoices, on_epoch: OnEpoch
) -> list[Choice]:
    """Train the choices; return them with their new states."""
    again = experiment.command("export")
    words = f"stopped, each finished epoch is saved; resume with `{again}` and the same options"
    runs = [_run(choice, voices.data) for choice in choices]
    on_processor = experiment.space().resources.gpus == 0
    with stoppable(lambda: words):
        train_runs(runs, voices, on_epoch, side_by_side=on_processor)
    return [
        replace(choice, state=run.read_state(), subfolder=f"{FOLDER}/{run.folder.name}")
        for choice, run in zip(choices, runs, strict=True)
    ]


def _run(choice: Choice, data: PackedData) -> RefitRun:
    content = {**to_mapping(choice.config), "data": data.identity}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    last = choice.row["epoch"]
    name = f"{choice.trial.number:04d}_{last:06d}_{key}"
    return RefitRun(_config(choice, last), last, choice.search.path / FOLDER / name)


def _config(choice: Choice, last: int) -> TrainConfig:
    """The config of the trial, with its threads and the processor if it had no device.

    Val is trained on, and cannot tell when to stop. A trial that was extended later has the
    learning rates with which it was trained so far.
    """
    resources = choice.search.space().resources
    cpus = min(resources.cpus, os.cpu_count() or 1)
    config = choice.config
    epochs = int(choice.state["config"]["epochs"])
    return replace(
        config,
        epochs=epochs if epochs >= last else config.epochs,
        num_threads=config.num_threads or cpus,
        device=config.device if resources.gpus else "cpu",
        early_stopping_patience=0,
    )
