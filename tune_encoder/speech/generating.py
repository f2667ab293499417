"""Generation: a data set that Supertonic speaks, which is whole, absent, or continues.

It grows in `OUT.partial` and is renamed to `OUT` when it is whole. Whatever interrupts it, the same
command continues it, and in the end it has the bytes that it would have had without.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_encoder.config import GenerationSettings
from tune_encoder.data.samples import SPLITS
from tune_encoder.data.splitting import assign_splits
from tune_encoder.data.voice_bank import read_styles
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.speech.clips import Clip, Made, Script, count_refusals, remove_partial
from tune_encoder.speech.engine import PRESETS_FOLDER, Engine, find_model, model_languages
from tune_encoder.speech.provenance import (
    DATASET_FILE,
    Summary,
    check_same_request,
    read_summary,
    request_of,
    write_dataset,
    write_request,
)
from tune_encoder.speech.texts import choose_texts, split_by_speakable
from tune_encoder.speech.voices import Cast, make_cast
from tune_encoder.speech.workers import Studio
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.files import check_empty
from tune_encoder.system.lock import LOCK_NAME, lock_experiment
from tune_encoder.system.shortage import resumable
from tune_encoder.system.signals import interruptible

MIN_VOICES = 3  # one for each split
_HOPELESS = 20  # clips; if each draw of the first ones was refused, so will be the others


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a data set is made of, beside the settings."""

    model: str
    """Name of the Supertonic model."""
    model_dir: Path | None = None
    """Folder of its files; None: where the package keeps them."""
    presets: Path | None = None
    """Folder of presets, if not the model's."""
    styles: Path | None = None
    """Folder of the user's styles."""
    texts: Path | None = None
    """File of texts; None: those of this package."""
    hold_out: Sequence[str] = ()
    """Names of styles that go to test alone, and that no mixture is made of."""


def generate(out: Path, sources: Sources, settings: GenerationSettings, n_workers: int) -> Summary:
    """Make a data set, or what is left of it to make.

    Args:
        out: New or empty folder, or one that the same command made.
        sources: Model, styles and texts.
        settings: Of the voices and clips.
        n_workers: Processes that speak; the data set does not depend on it.

    Raises:
        ConfigError: if an option cannot be met, or another command has begun this folder.
        DataError: if a style or text cannot be used, or nothing that is spoken can.
        StorageError: if the model is missing, or the folder cannot be written or is in use.
        Interrupted: at a signal; the same command continues.
    """
    studio = _prepare(sources, settings)
    request = request_of(studio.model, studio.folder, studio.script)
    if (out / DATASET_FILE).is_file():
        check_same_request(out, request, out)
        return read_summary(out)
    check_empty(out)
    partial = out.resolve().with_name(f"{out.resolve().name}.partial")
    made: list[Made] = []
    again = "continue with the same command"
    with (
        interruptible(lambda: f"stopped after {len(made)} clips; {again}"),
        resumable(lambda: again),
    ):
        partial.mkdir(parents=True, exist_ok=True)
        with lock_experiment(partial):
            _begin(partial, request, out)
            _make(studio, _clips(studio.script.cast, partial), n_workers, made)
            write_dataset(partial, request, studio.script, sorted(made, key=lambda each: each.clip))
            for name in SPLITS:
                remove_partial(partial / name)
            os.sync()  # clips were written without waiting for the disk
            (partial / LOCK_NAME).unlink()
            partial.rename(out.resolve())
    return read_summary(out)


def _prepare(sources: Sources, settings: GenerationSettings) -> Studio:
    """Find the model and read all styles and texts, before anything is written."""
    if settings.voices < MIN_VOICES:
        raise ConfigError(f"voices is {settings.voices}; it must be at least {MIN_VOICES}")
    languages = model_languages(sources.model)
    # Whatever needs no file of the model is checked before it is downloaded.
    choose_texts(sources.texts, settings.languages, languages, lambda _: [])
    for given in filter(None, (sources.presets, sources.styles)):
        read_styles(given)
    folder = find_model(sources.model, sources.model_dir)
    cast = make_cast(
        settings, folder / PRESETS_FOLDER, sources.presets, sources.styles, sources.hold_out
    )
    unknown_characters = Engine(sources.model, folder).unknown_characters
    texts = choose_texts(sources.texts, settings.languages, languages, unknown_characters)
    speakable, others = split_by_speakable(texts, unknown_characters)
    if not speakable:
        raise DataError(f"{folder}: the model can spell none of the texts; is it damaged?")
    return Studio(sources.model, folder, Script(settings, cast, speakable, others))


def _begin(partial: Path, request: dict[str, object], out: Path) -> None:
    if (partial / DATASET_FILE).is_file():
        check_same_request(partial, request, out)
    else:
        write_request(partial, request)
    for name in SPLITS:
        (partial / name).mkdir(exist_ok=True)
        remove_partial(partial / name)


def _clips(cast: Cast, folder: Path) -> list[Clip]:
    """All clips to make, each voice whole in one split; what is held out alone makes test."""
    names = cast.names
    free = [name for name in names if name not in cast.held_out]
    split_of = assign_splits(free, cast.settings.seed, has_test=not cast.held_out)
    split_of |= dict.fromkeys(cast.held_out, "test")
    return [
        Clip(voice, number, folder / split_of[name] / f"{name}_{number:04d}.npz")
        for voice, name in enumerate(names)
        for number in range(cast.settings.clips_per_voice)
    ]


def _make(studio: Studio, clips: Sequence[Clip], n_workers: int, made: list[Made]) -> None:
    """Make all clips; what was made is added to `made` as it comes."""
    with progress_bar(total=len(clips), description="generate") as progress:
        for each in studio.make_all(clips, n_workers):
            made.append(each)
            progress.update()
            if len(made) == _HOPELESS:
                _check_some_written(made)


def _check_some_written(made: Sequence[Made]) -> None:
    if not any(each.notes for each in made):
        refused = count_refusals([reason for each in made for reason in each.refused])
        reasons = ", ".join(f"{reason} {count}" for reason, count in refused.items())
        raise DataError(
            f"none of the first {len(made)} clips can be used ({reasons}); check the model, the "
            "styles and the languages of the texts"
        )
