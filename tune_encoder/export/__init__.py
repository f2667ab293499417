"""Export: the best model of a search as a self-contained folder, checked in a new process."""

from pathlib import Path

from tune_encoder.config import ExportSettings
from tune_encoder.data.folds import all_voices
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import pack_of_search
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export.choosing import Choice, choose
from tune_encoder.export.combining import Model, best_model, single_model
from tune_encoder.export.contents import Metrics
from tune_encoder.export.origin import search_origin
from tune_encoder.export.refitting import refit_if_due, refit_models
from tune_encoder.export.writing import Source, write_models
from tune_encoder.model.folder import is_model_folder
from tune_encoder.system.files import atomic_folder, check_empty, remove_leftovers

__all__ = [
    "Choice",
    "Model",
    "Source",
    "check_replaceable",
    "choose",
    "export",
    "export_models",
    "single_model",
]


def export(experiment: Experiment, to: Path, settings: ExportSettings) -> list[Metrics]:
    """Write the best model of a search to the folder `to`, atomically.

    With `top_k` above 1 it has a subfolder per trial, where 1 is the best.

    Returns:
        The content of each metrics.json.

    Raises:
        SearchFailed: if no trial, or not the one asked for, has a usable checkpoint.
        ConfigError: if the folder has other content than an older export.
        StorageError: if the data has changed, or a new process cannot reproduce a score.
    """
    check_replaceable(to)
    choices = choose(experiment, settings.top_k, settings.trial)
    data = open_pack(pack_of_search(experiment.data_source(), choices[0].config))
    models = _models(experiment, choices, settings, data)
    if models[0].folded is not None:
        data = all_voices(data)
    elif models[0].refitted is not None:
        data = all_voices(data, data.voice_kind("val"))
    return export_models(models, to, Source(search_origin(experiment), data, settings))


def export_models(models: list[Model], to: Path, source: Source) -> list[Metrics]:
    """Write models to the folder `to`, or with `top_k` above 1 to subfolders of it."""
    with atomic_folder(to, replace=True) as folder:
        alone = source.settings.top_k == 1
        names = [folder] if alone else [folder / str(i + 1) for i in range(len(models))]
        metrics = write_models(names, models, source)
    remove_leftovers(to)
    return metrics


def check_replaceable(to: Path) -> None:
    """Raise a `ConfigError` if the folder has other content than an older export."""
    if not (is_model_folder(to) or is_model_folder(to / "1")):
        check_empty(to)


def _models(
    experiment: Experiment, choices: list[Choice], settings: ExportSettings, data: PackedData
) -> list[Model]:
    if experiment.space().validation.folds > 1:
        return refit_models(experiment, choices, settings, data)
    if settings.top_k == 1:
        models = [best_model(experiment, choices[0], settings, data)]
    else:
        models = [single_model(choice) for choice in choices]
    return refit_if_due(experiment, models, settings, data)
